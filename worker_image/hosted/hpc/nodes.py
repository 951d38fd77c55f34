"""Static machines: those of a file, each found by its address."""

from collections.abc import Sequence

import structlog

from gpulease.contract.hosts import Duty
from provider_clients.static import StaticMachine
from worker_image.faults import HostFault
from worker_image.hosted.generator.nodes import GeneratorNode
from worker_image.hosted.hpc.blender import HpcBlender, Share
from worker_image.hosted.hpc.client import Hpc
from worker_image.hosted.remote import Node, RemoteBackend

_log = structlog.get_logger()


class StaticNodes:
    def __init__(self, machines: Sequence[StaticMachine]) -> None:
        self.delay_s = 0.0
        self._machines = {machine.url: machine for machine in machines}

    def node(self, duty: Duty, incarnation: str) -> Node:  # noqa: ARG002  It knows no agents.
        """Raises: ValueError: the file does not list it."""
        machine = self._machines.get(duty.address.rstrip("/"))
        if machine is None:
            raise ValueError(f"no machine at {duty.address} is listed")
        return GeneratorNode(machine) if machine.speaks_grpc else StaticNode(machine)

    async def aclose(self) -> None:
        pass


class StaticNode:
    def __init__(self, machine: StaticMachine) -> None:
        self._machine = machine
        self._hpc = Hpc(machine.url, machine.key)
        self.backends: tuple[RemoteBackend, ...] = (HpcBlender(machine, self._hpc),)

    async def answers(self) -> bool:
        """Whether it is there, and idle. A render that an agent of ours left behind is ended."""
        try:
            task = (await self._hpc.status()).task
            if task is None or not task.running:
                return True
            if self._machine.shared_here and Share.of(self._machine, task.id).here.is_dir():
                _log.info("left_render_stopped", machine=self._machine.name, task=task.id)
                await self._hpc.stop(task.id)
        except HostFault:
            pass
        return False

    async def aclose(self) -> None:
        await self._hpc.aclose()

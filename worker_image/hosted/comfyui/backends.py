"""The two engines of a node's ComfyUI, as backends of its agent.

Both share one server, which may come up minutes after the node itself does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from gpulease.contract.agent import EngineOffer
from worker_image.engines.base import EngineJob, Outcome, Report
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.offers import SONIC, find_sonic
from worker_image.engines.comfyui.portrait import make_portrait, media_programs
from worker_image.engines.comfyui.run import PATIENCE, Patience
from worker_image.engines.comfyui.workflow import run_workflow
from worker_image.execute import Made
from worker_image.faults import HostFault
from worker_image.hosted.remote import RemoteJob

AGAIN_S = 10.0
LAST_STEP_S_MAX = 60.0
"""What is interrupted ends when the step or the node that runs does."""

Making = Callable[[ComfyUI, EngineJob, Report, Patience], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Boot:
    """For how long its first answer is waited for, and how often it is asked."""

    wait_s: float = 120.0
    again_s: float = AGAIN_S


class NodeComfy:
    """The ComfyUI of one node. It is waited for once; later it answers or it does not."""

    def __init__(self, server: ComfyUI, boot: Boot, patience: Patience | None = None) -> None:
        self.server = server
        self.patience = patience or replace(PATIENCE, cancel_s_max=LAST_STEP_S_MAX)
        self._boot = boot
        self._waited = False

    async def until_up(self) -> str | None:
        """None when it answers, or why it does not."""
        clock = asyncio.get_running_loop()
        end = clock.time() + (0.0 if self._waited else self._boot.wait_s)
        while True:
            try:
                await self.server.device()
            except HostFault as fault:
                if clock.time() + self._boot.again_s > end:
                    self._waited = True
                    return f"its ComfyUI does not answer: {fault.message}"
            else:
                self._waited = True
                return None
            await asyncio.sleep(self._boot.again_s)


class _OnNode:
    """What both have in common: a call is a task, and stopping it takes its prompt off the server."""

    fetches = True

    def __init__(self, comfy: NodeComfy) -> None:
        self._comfy = comfy
        self._calls: dict[int, asyncio.Task[object]] = {}

    async def stop(self, attempt: int) -> None:
        if call := self._calls.get(attempt):
            call.cancel()

    async def _made(self, making: Making, job: RemoteJob, report: Report) -> Outcome:
        call = asyncio.current_task()
        assert call is not None  # noqa: S101  We are in it.
        self._calls[job.attempt] = call
        try:
            return await making(self._comfy.server, job, report, self._comfy.patience)
        finally:
            self._calls.pop(job.attempt, None)


class SonicNode(_OnNode):
    name = "sonic-node"
    engine = "portrait"

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        if missing := media_programs() or await self._comfy.until_up():
            return missing
        try:
            found = await find_sonic(self._comfy.server)
        except HostFault as fault:
            return fault.message
        if isinstance(found, str):
            return found
        offer = EngineOffer(engine=self.engine, backend=self.name, models=(SONIC,), vram_gb=found.vram_gb)
        return (offer,)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        return Made(self.name, await self._made(make_portrait, job, report))


class WorkflowNode(_OnNode):
    name = "comfyui-node"
    engine = "comfyui"

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        if missing := await self._comfy.until_up():
            return missing
        return (EngineOffer(engine=self.engine, backend=self.name),)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        return Made(self.name, await self._made(run_workflow, job, report))

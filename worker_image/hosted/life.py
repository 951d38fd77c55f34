"""One agent for one duty, from the machine's first answer to the agent's end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog
from pydantic import SecretStr

from gpulease.contract.agent import EngineOffer
from gpulease.contract.hosts import Duty
from worker_image.agent import Agent, Exit, Machine
from worker_image.hosted.executor import Desk, RemoteExecutor
from worker_image.hosted.remote import Node, Nodes
from worker_image.hosted.settings import HostSettings
from worker_image.link import Link
from worker_image.media.prefetch import Prefetched
from worker_image.scratch import close_scratch
from worker_image.serving.beats import BeatThread
from worker_image.settings import Settings
from worker_image.slots import Slots

LOOK_AGAIN_S = 5.0
WHOLE_S_MAX = 60.0
"""How long a machine that offers something is waited for to offer everything."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Home:
    """What the agents of one host share."""

    settings: HostSettings
    nodes: Nodes
    thread: BeatThread
    scratch: Path


class Life:
    """`given_up` says afterwards that the machine should be exchanged, and so no agent should begin on it anew."""

    def __init__(self, home: Home, duty: Duty) -> None:
        self._home = home
        self._duty = duty
        self._log = _log.bind(worker_id=duty.worker_id)
        self._agent: Agent | None = None
        self.given_up = False

    @property
    def serving(self) -> bool:
        """Whether there is an agent yet."""
        return self._agent is not None

    def stop(self) -> None:
        """Like an agent's: no more claims, and a grace for what runs."""
        if self._agent is not None:
            self._agent.stop()

    async def run(self, *, new: bool) -> Exit:
        """`new`: nobody has talked to this machine from here yet, so that its delay holds."""
        incarnation = uuid4().hex
        node = self._home.nodes.node(self._duty, incarnation)
        try:
            await asyncio.sleep(self._home.nodes.delay_s if new else 0)
            offers = await self._until_ready(node)
            return await self._serve(node, offers, incarnation)
        finally:
            await node.aclose()

    async def _until_ready(self, node: Node) -> tuple[EngineOffer, ...]:
        """Asks for as long as the duty lasts: how long a boot may take is the orchestrator's to say."""
        clock = asyncio.get_running_loop()
        answered_at: float | None = None
        while True:
            if await node.answers():
                answered_at = answered_at or clock.time()
                offers, reasons = await _probe(node)
                if offers and (not reasons or clock.time() - answered_at > WHOLE_S_MAX):
                    return offers
                self._log.info("not_offered", reasons=reasons)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _serve(self, node: Node, offers: tuple[EngineOffer, ...], incarnation: str) -> Exit:
        scratch = self._home.scratch / incarnation
        scratch.mkdir()
        settings = self._settings(scratch)
        desk = Desk(Slots(settings.capacity), Prefetched(scratch / "prefetched"), self._duty.gpu_class)
        executor = RemoteExecutor(node, offers, desk)
        machine = Machine(settings, executor, desk.prefetched, desk.slots, scratch, self._duty.gpu_class)
        link = Link(str(settings.orchestrator_url), self._duty.worker_id, self._duty.worker_key)
        self._agent = agent = Agent(machine, link, incarnation, thread=self._home.thread)
        watch = asyncio.create_task(_when(executor.given_up, agent.stop))
        try:
            return await agent.run()
        finally:
            self._agent = None
            self.given_up = executor.given_up.is_set()
            watch.cancel()
            await executor.aclose()
            await link.aclose()
            close_scratch(scratch)

    def _settings(self, scratch: Path) -> Settings:
        host = self._home.settings
        return Settings(
            orchestrator_url=host.orchestrator_url,
            worker_id=self._duty.worker_id,
            worker_key=SecretStr(self._duty.worker_key),
            scratch=scratch,
            capacity=1,
            usd_per_hour=0.0,
            allow_private_hosts=host.allow_private_hosts,
            grace_s=host.grace_s,
        )


async def _probe(node: Node) -> tuple[tuple[EngineOffer, ...], dict[str, str]]:
    """What it offers, and for each backend that offers nothing, why."""
    offers: list[EngineOffer] = []
    reasons: dict[str, str] = {}
    for backend in node.backends:
        match await backend.probe():
            case str() as reason:
                reasons[backend.name] = reason
            case found:
                offers += found
    return tuple(offers), reasons


async def _when(event: asyncio.Event, then: Callable[[], None]) -> None:
    await event.wait()
    then()

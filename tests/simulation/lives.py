"""One orchestrator after the other on the same store and clouds: each dies where it stands, and is built anew."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rough_agent import Down
from rough_cloud import Line
from virtual_time import Ticker, VirtualLoop, context_of, tasks_of
from watched_store import WatchedStore

from gpulease.contract.problems import ProblemError
from orchestrator.app import Address, Orchestrator, build
from orchestrator.parts import Parts
from provider_clients.buffer import Buffer

QUIET_LOOPS = frozenset({"webhooks", "retention"})
"""They have nothing to do here, and would do it every second."""
EXPECTED_STATUSES = (401, 409)
SHUTTING_DOWN = 503
GRACEFUL = 0.3


class Body:
    """One life. Its tasks are known by their owner, and end with it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.alive = True
        self.dead = asyncio.Event()
        self.orchestrator: Orchestrator | None = None

    @property
    def parts(self) -> Parts:
        return self.orchestrator.parts

    @property
    def listens(self) -> bool:
        return self.alive and self.orchestrator is not None

    def begin(self, work: Any) -> asyncio.Task[Any]:
        return self.loop.create_task(work, context=context_of(self))

    def die(self) -> None:
        """As from kill -9: nothing more is written or sent, whatever the cleanup of its tasks tries."""
        if not self.alive:
            return
        self.alive = False
        self.dead.set()
        for task in tasks_of(self, self.loop):
            task.cancel()


class Lives:
    """`beside` are what ends with each life, as the processes that host agents do."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._dice = {name: world.scenario.stream(name) for name in ("crash", "link", "store")}
        self.body: Body | None = None
        self.count = 0
        self.beside: list[Callable[[Body], Awaitable[None]]] = []

    async def keep(self) -> None:
        dice = self._dice["crash"]
        while True:
            body = self.body = Body(self._world.loop)
            self.count += 1
            birth = body.begin(self._bear(body))
            await asyncio.wait({birth})
            if not birth.cancelled():
                birth.result()
            end = asyncio.create_task(self._end(body))
            await body.dead.wait()
            end.cancel()
            await asyncio.sleep(dice.choice([0.1, 5.0, 30.0, 30.0, 200.0]))

    async def _end(self, body: Body) -> None:
        dice, mean_s = self._dice["crash"], self._world.scenario.crash_s
        if mean_s is None:
            return
        await asyncio.sleep(dice.expovariate(1.0 / mean_s))
        if body.listens and dice.random() < GRACEFUL:
            await asyncio.wait({body.begin(body.orchestrator.stop())})
        body.die()

    async def _bear(self, body: Body) -> None:
        world = self._world

        def survives() -> bool:
            """Any step may be its last."""
            share = world.scenario.crash_share
            if body.alive and share and self._dice["crash"].random() < share:
                body.die()
            return body.alive

        store: Any = WatchedStore(world.store, world.watch, self._dice["store"], survives)
        lines: dict[str, Any] = {name: Line(one, survives) for name, one in world.clouds.items()}
        lines["buffer"] = Buffer(dict)
        dice = world.scenario.stream(f"life {self.count}")
        address = Address(world.settings, 80)
        orchestrator = await build(world.settings, address, store, world.clock, lines, dice=dice)
        orchestrator.parts.loops._scheduler = Ticker(QUIET_LOOPS, lambda: world.is_lull)
        await orchestrator.start()
        body.orchestrator = orchestrator
        for beside in self.beside:
            body.begin(beside(body))

    async def call(self, what: Callable[[Parts], Awaitable[Any]]) -> Any:
        """Asks whichever orchestrator lives, over a line that loses some requests and some replies.

        Raises:
            Down: there was no answer.
        """
        body, dice = self.body, self._dice["link"]
        lost = self._world.scenario.link_lost / 2
        if body is None or not body.listens or dice.random() < lost:
            raise Down
        handling = body.begin(what(body.parts))
        handling.add_done_callback(_retrieve)
        await asyncio.wait({handling})
        if handling.cancelled() or dice.random() < lost:
            raise Down
        match handling.exception():
            case None:
                return handling.result()
            case ProblemError() as said if said.problem.status == SHUTTING_DOWN:
                raise Down
            case ProblemError() as said if said.problem.status in EXPECTED_STATUSES:
                raise said
            case error:
                self._world.broken.append(f"an answer that nobody deserved: {error!r}")
                raise error


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Whoever asked may be dead by now."""
    if not task.cancelled():
        task.exception()

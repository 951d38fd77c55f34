"""An agent on a simulated machine, over the orchestrator's own verbs: it works, and it fails in every way we know."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpulease.contract import agent as wire
from gpulease.contract.jobs import Fault, Phase, Result
from gpulease.contract.problems import ProblemError
from orchestrator.parts import Parts
from orchestrator.store.rows import Held
from scaling.snapshot import Capability

AGAIN_S = 2.0
SERVICE_S = {"csm": 40.0, "whisper": 90.0}
JOB_FAULT = Fault(kind="job", code="bad_input", message="not audio")
BAD_HOST = Fault(kind="host", code="gpu_lost", message="The GPU has fallen off the bus.")
LEAVING = Fault(kind="host", code="worker_stopped", message="The worker was stopped before the job was done.")


class Down(ConnectionError):
    """No answer: nobody listens, or the line is cut."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Shares of jobs, and mean lives in seconds (None: for ever)."""

    job_fault: float = 0.0
    host_fault: float = 0.0
    hang: float = 0.0
    silent_death_s: float | None = None
    freeze_s: float | None = None
    frozen_s_max: float = 240.0
    restart_s: float | None = None
    leave_s: float | None = None


class Office(Protocol):
    """Where agents call: whichever orchestrator lives."""

    async def call(self, what: Callable[[Parts], Awaitable[Any]]) -> Any: ...


@dataclass(slots=True)
class RoughAgent:
    """Lives while `alive()`. On a machine that is `bad()` each job fails."""

    office: Office
    worker_id: str
    key: str
    gpu_class: str
    engines: tuple[Capability, ...]
    capacity: int
    alive: Callable[[], bool]
    bad: Callable[[], bool]
    habits: Habits
    dice: random.Random
    period_s: float = 15.0
    busy_s: float = 0.0
    incarnation: str = ""
    _held: set[int] = field(default_factory=set)
    _frozen_until: float = 0.0
    _leaving: bool = False
    _told_to_stop: bool = False
    _restarts: bool = False
    _jobs: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _uploading: set[int] = field(default_factory=set)

    async def live(self) -> None:
        """From boot to its end, through restarts."""
        fate = asyncio.create_task(self._fate())
        try:
            while self.alive() and not self._told_to_stop:
                self._restarts = False
                await self._serve()
                if not self._restarts:
                    return
                await asyncio.sleep(self.dice.uniform(1.0, 30.0))
        finally:
            fate.cancel()
            for job in self._jobs.values():
                job.cancel()

    async def _serve(self) -> None:
        self.incarnation = f"inc-{self.dice.getrandbits(48):012x}"
        self._held.clear()
        if not await self._register():
            return
        heart, work = asyncio.create_task(self._beat()), asyncio.create_task(self._work())
        await asyncio.wait({heart, work}, return_when=asyncio.FIRST_COMPLETED)
        for task in (heart, work, *self._jobs.values()):
            task.cancel()
        await asyncio.gather(heart, work, *self._jobs.values(), return_exceptions=True)
        self._jobs.clear()

    async def _fate(self) -> None:
        """What befalls it: each from the moment of its boot, whichever comes first, and freezes again and again."""
        ends = [
            (self._draw(self.habits.silent_death_s), "die"),
            (self._draw(self.habits.restart_s), "restart"),
            (self._draw(self.habits.leave_s), "leave"),
        ]
        when, how = min(ends)
        began = _now()
        while (freeze_s := self._draw(self.habits.freeze_s)) < began + when - _now():
            await asyncio.sleep(freeze_s)
            self._frozen_until = _now() + self.dice.uniform(1.0, self.habits.frozen_s_max)
        if when == float("inf"):
            return
        await asyncio.sleep(max(0.0, began + when - _now()))
        match how:
            case "die":
                self._frozen_until = float("inf")
            case "restart":
                self._restarts = True
            case _:
                self._leaving = True

    def _draw(self, mean_s: float | None) -> float:
        return float("inf") if mean_s is None else self.dice.expovariate(1.0 / mean_s)

    # Calls

    async def _say(self, what: Callable[[Parts], Awaitable[Any]]) -> Any:
        """Until there is an answer. A frozen agent says nothing, and goes on later as if nothing had been."""
        while True:
            await self._thaw()
            try:
                return await self.office.call(what)
            except Down:
                await asyncio.sleep(AGAIN_S * self.dice.uniform(0.5, 1.5))

    async def _thaw(self) -> None:
        while (left_s := self._frozen_until - _now()) > 0:
            await asyncio.sleep(min(left_s, 3600.0))

    async def _known(self, parts: Parts) -> Any:
        worker = await parts.owners.admit(self.worker_id, self.key)
        if worker is None:
            raise ProblemError(401, "A key is needed", "the key is not this worker's")
        return worker

    async def _register(self) -> bool:
        said = wire.RegisterRequest(
            incarnation=self.incarnation,
            engines=tuple(
                wire.EngineOffer(
                    engine=one.engine, backend=one.backend, models=one.models, features=one.features
                )
                for one in self.engines
            ),
            gpu_class=self.gpu_class,
            capacity=self.capacity,
        )

        async def register(parts: Parts) -> Any:
            return await parts.agents.register(await self._known(parts), said)

        try:
            await self._say(register)
        except ProblemError:
            return False
        return True

    async def _beat(self) -> None:
        """Ends when it is let go, or when its machine is no more."""

        async def beat(parts: Parts) -> wire.HeartbeatReply:
            said = wire.HeartbeatRequest(incarnation=self.incarnation, attempts=tuple(sorted(self._held)))
            return await parts.agents.heartbeat(await self._known(parts), said)

        while self.alive() and not self._restarts:
            try:
                reply = await self._say(beat)
            except ProblemError:
                return
            for attempt in reply.cancel:
                if job := self._jobs.get(attempt):
                    job.cancel()
            if reply.stop:
                self._told_to_stop = True
                return
            await asyncio.sleep(self.period_s * self.dice.uniform(0.8, 1.2))

    # Work

    async def _work(self) -> None:
        while self.alive() and not (self._leaving and not self._jobs):
            if self._leaving or len(self._jobs.keys() - self._uploading) >= self.capacity:
                await asyncio.sleep(1.0)
                continue
            try:
                given = await self._claim()
            except ProblemError:
                return
            if given is not None and not self._leaving:
                self._take(given)
            elif given is None:
                await asyncio.sleep(0.1)

    async def _claim(self) -> wire.Assignment | None:
        said = wire.ClaimRequest(
            incarnation=self.incarnation, nonce=f"{self.dice.getrandbits(64):016x}", wait_s=60.0
        )

        async def claim(parts: Parts) -> wire.ClaimReply:
            return await parts.agents.claim(await self._known(parts), said)

        reply = await self._say(claim)
        return reply.assignment

    def _take(self, given: wire.Assignment) -> None:
        self._held.add(given.attempt)
        job = asyncio.create_task(self._run(given))
        self._jobs[given.attempt] = job
        job.add_done_callback(lambda _: self._drop(given.attempt, job))

    def _drop(self, attempt: int, job: asyncio.Task[None]) -> None:
        if self._jobs.get(attempt) is job:
            del self._jobs[attempt]
            self._uploading.discard(attempt)
            self._held.discard(attempt)

    async def _run(self, given: wire.Assignment) -> None:
        service_s = SERVICE_S[given.engine] * self.dice.lognormvariate(0.0, 0.4)
        luck = self.dice.random()
        try:
            await self._steps(given, service_s, hangs=luck < self.habits.hang)
            await self._finish(given, self._ending(given, luck))
        except ProblemError:
            return

    def _ending(self, given: wire.Assignment, luck: float) -> dict[str, Any]:
        habits = self.habits
        if self._leaving:
            return {"fault": LEAVING}
        if self.bad() or luck > 1.0 - habits.host_fault:
            return {"fault": BAD_HOST}
        if luck > 1.0 - habits.host_fault - habits.job_fault:
            return {"fault": JOB_FAULT}
        return {"result": Result(backend="rough", text=f"{given.job_id}/{given.attempt}")}

    async def _steps(self, given: wire.Assignment, service_s: float, *, hangs: bool) -> None:
        shares = ((Phase.PREPARING, 0.1), (Phase.INFERRING, 0.8), (Phase.UPLOADING, 0.1))
        done = 0.0
        for phase, share in shares:
            await self._report(given, phase, done)
            if phase is Phase.UPLOADING:
                self._uploading.add(given.attempt)
            if hangs and phase is Phase.INFERRING:
                await asyncio.sleep(4000.0)
            began = _now()
            while not self._leaving and _now() < began + share * service_s:
                await asyncio.sleep(min(5.0, began + share * service_s - _now()))
            done += share
            self.busy_s += share * service_s

    async def _report(self, given: wire.Assignment, phase: Phase, done: float) -> None:
        said = wire.ProgressReport(incarnation=self.incarnation, phase=phase, progress=done)
        await self._say(lambda parts: parts.agents.progress(self._as_held(given), said))

    async def _finish(self, given: wire.Assignment, how: dict[str, Any]) -> None:
        said = wire.FinishReport(incarnation=self.incarnation, **how)
        await self._say(lambda parts: parts.agents.finish(self._as_held(given), said))

    def _as_held(self, given: wire.Assignment) -> Held:
        return Held(given.attempt, self.worker_id, self.incarnation)


def _now() -> float:
    return asyncio.get_running_loop().time()

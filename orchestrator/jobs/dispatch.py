"""Parked claims: an idle worker's long poll is answered the moment a fitting job is there."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gpulease.contract.agent import ClaimRequest
from orchestrator.clock import Clock
from orchestrator.jobs.holds import HoldBook
from orchestrator.jobs.waits import Waits
from orchestrator.store import rules
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Claimed, Worker
from scaling.estimate import Times
from scaling.limits import NO_LIMITS, NOTHING_RUNS, RunningLimits, bounds
from scaling.place import Holds, Patience, best_worker, kind_of, warm
from scaling.plan import Plan
from scaling.snapshot import Estimates, Need, Snapshot, WorkerView
from scaling.states import WorkerState


@dataclass(slots=True)
class Parked:
    view: WorkerView
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    released: bool = False


class Dispatcher:
    """Claims look before they wait, and are parked before they look, so that no job slips between.

    A new job wakes a worker that has its model at once. Where a busy one has it, waiting for that may be cheaper than
    loading it again: then others are left asleep until the next plan has said how many such jobs it holds.
    """

    def __init__(self, store: Store, clock: Clock, on_claim: Callable[[Claimed], None]) -> None:
        self._store = store
        self._clock = clock
        self._on_claim = on_claim
        self._parked: dict[str, Parked] = {}
        self._models_at_work: frozenset[str] = frozenset()
        self._left_to_plan: set[Need] = set()
        self._due: set[Need] = set()
        """Needs that were left to the plan that is made now."""
        self.holds = HoldBook(clock)
        self.waits = Waits()
        self._times = Times(Estimates())
        self.limits: Callable[[], RunningLimits] = lambda: NO_LIMITS
        self.closed = False
        self.resting: set[str] = set()
        """Workers whose owners paused them; they say so with every heartbeat."""

    def parked(self) -> frozenset[str]:
        return frozenset(self._parked)

    async def claim(self, worker: Worker, asked: ClaimRequest) -> Claimed | None:
        """Waits up to `asked.wait_s` seconds for a job that this worker can run."""
        deadline = self._clock.now() + asked.wait_s
        while not self.closed:
            spot = Parked(view_of(worker, asked.resident, self._clock.now()), self._clock.now())
            self._parked[worker.id] = spot
            holds = self.holds.current()
            try:
                claimed = await self._claim(worker.id, asked, holds)
                if claimed is not None:
                    self._note(claimed, worker, asked.resident)
                    return claimed
                # A warm worker took a held one meanwhile, and so what is left may be for others.
                if holds is not self.holds.current() and not spot.released:
                    continue
                if not await _woken(spot.wake, deadline - self._clock.now()) or spot.released:
                    return None
            finally:
                if self._parked.get(worker.id) is spot:
                    del self._parked[worker.id]
        return None

    async def _claim(self, worker_id: str, asked: ClaimRequest, holds: Holds) -> Claimed | None:
        return await self._store.claim_job(
            worker_id,
            asked.incarnation,
            asked.nonce,
            resident=asked.resident,
            now=self._clock.now(),
            limits=self.limits(),
            holds=holds,
            patience=self.holds.patience(),
        )

    def _note(self, claimed: Claimed, worker: Worker, resident: tuple[str, ...]) -> None:
        need = claimed.job.need
        self.holds.took(need, resident)
        load_s = self._times.load(need, worker.gpu_class).mean_s if claimed.attempt.loads else 0.0
        self.waits.note(claimed, load_s, self.holds.patience())
        self._models_at_work |= _models((*resident, _key(need)) if need.model else resident)
        self._on_claim(claimed)

    def offer(self, need: Need, count: int = 1) -> bool:
        """Wakes as many parked workers as can take these new jobs, the best first. True where some are left to the
        next plan; `leave_to_plan` says so once they are stored.
        """
        held = _key(need) in self._models_at_work or need in self.holds.current()
        woken = self._wake(need, count, count if held else 0)
        return held and woken < count

    def leave_to_plan(self, needs: Iterable[Need]) -> None:
        self._left_to_plan.update(needs)

    def _wake(self, need: Need, count: int, held: int) -> int:
        """Of `count` jobs, `held` are for workers that have their model. How many workers it woke."""
        for woken in range(count):
            free = {spot.view.id: spot.view for spot in self._parked.values() if not spot.wake.is_set()}
            chosen = best_worker(need, tuple(free.values()), count=count - woken, holds={need: held})
            if chosen is None:
                return woken
            self._parked[chosen].wake.set()
            held -= held > 0 and warm(need, free[chosen].resident)
        return count

    def look(self) -> None:
        """A plan begins to be made: it sees all that was left to it until now."""
        self._due |= self._left_to_plan
        self._left_to_plan = set()

    def follow(self, snapshot: Snapshot, plan: Plan) -> None:
        """A plan was made. Wakes who can take what was left to it, or what one before held and it does not, or what
        a limit may have held back and does not any more, however that came.
        """
        due = self._due | self.holds.needs()
        self._due = set()
        self.holds.put(plan.holds, plan.patience)
        self._times = Times(snapshot.estimates)
        at_work = (one for one in snapshot.workers if one.running and one.state is WorkerState.READY)
        self._models_at_work = _models(name for worker in at_work for name in _at_work(worker))
        held = self.holds.current()
        for group in snapshot.groups if self._parked else ():
            left = [one.left for one in bounds(group.need, snapshot.limits, snapshot.running)]
            if left or (due and group.need in due):
                self._wake(group.need, min([group.count, *left]), held.get(group.need, 0))
        if plan.patience is not None and snapshot.groups:
            self._wake_staying(plan.patience)

    def _wake_staying(self, patience: Patience) -> None:
        """Whoever was woken for a job may not have been one that stays, and left it."""
        risky = {kind for stay in patience.stays.values() for kind in stay.kinds}
        for spot in self._parked.values() if risky else ():
            if kind_of(spot.view) not in risky:
                spot.wake.set()

    def unhold(self) -> None:
        """No plan could be made: nothing is held, and whoever may have been left asleep looks."""
        if self._due or self.holds.needs():
            self._due = set()
            self.holds.put(())
            self.look_again()

    def ended(self, need: Need) -> None:
        """A job of this need runs no more. Where a limit holds such jobs back, the next one may begin."""
        if any(bounds(need, self.limits(), NOTHING_RUNS)):
            self._left_to_plan |= {need} if self.offer(need) else set()

    def release(self, worker_id: str) -> None:
        """Ends a parked claim, so that its worker hears at once that it should drain or stop."""
        if spot := self._parked.get(worker_id):
            spot.released = True
            spot.wake.set()

    def rest(self, worker_id: str, *, on: bool) -> None:
        """Its owner wants the machine for itself: its parked claim is answered with nothing."""
        if not on:
            self.resting.discard(worker_id)
        elif worker_id not in self.resting:
            self.resting.add(worker_id)
            self.release(worker_id)

    def look_again(self) -> None:
        """Wakes everybody: jobs came back to the queue, which is rare."""
        for spot in self._parked.values():
            spot.wake.set()

    def close(self) -> None:
        self.closed = True
        self.look_again()


def view_of(worker: Worker, resident: tuple[str, ...], now: float) -> WorkerView:
    """What choosing among parked workers needs. The latest to have worked comes first, so idle is what is left."""
    last = worker.last_finish_at or worker.ready_at or 0.0
    return replace(
        rules.host(worker, now),
        capacity=worker.capacity,
        resident=resident,
        idle_s=-last,
        owned=worker.owned,
    )


def _key(need: Need) -> str:
    """How its model is called among those in memory; of any of its engine, where it names none."""
    return f"{need.engine}/{need.model or ''}"


def _at_work(worker: WorkerView) -> tuple[str, ...]:
    """What it has in memory, and what it loads: heartbeats tell of that only when it is there."""
    return (*worker.resident, *(f"{one.engine}/{one.model}" for one in worker.running if one.model))


def _models(names: Iterable[str]) -> frozenset[str]:
    """Also each one's engine alone, for needs that name no model."""
    return frozenset(part for name in names for part in (name, f"{name.partition('/')[0]}/"))


async def _woken(event: asyncio.Event, timeout_s: float) -> bool:
    if timeout_s <= 0:
        return False
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True

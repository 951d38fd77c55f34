"""Parked claims: an idle worker's long poll is answered the moment a fitting job is there."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gpulease.contract.agent import ClaimRequest
from orchestrator.clock import Clock
from orchestrator.store import rules
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Claimed, Worker
from scaling.limits import NO_LIMITS, NOTHING_RUNS, RunningLimits, bounds
from scaling.place import best_worker
from scaling.snapshot import Need, Snapshot, WorkerView


@dataclass(slots=True)
class Parked:
    view: WorkerView
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    released: bool = False


class Dispatcher:
    """Claims look before they wait, and are parked before they look, so that no job slips between."""

    def __init__(self, store: Store, clock: Clock, on_claim: Callable[[Claimed], None]) -> None:
        self._store = store
        self._clock = clock
        self._on_claim = on_claim
        self._parked: dict[str, Parked] = {}
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
            try:
                claimed = await self._claim(worker.id, asked)
                if claimed is not None:
                    self._on_claim(claimed)
                    return claimed
                if not await _woken(spot.wake, deadline - self._clock.now()) or spot.released:
                    return None
            finally:
                if self._parked.get(worker.id) is spot:
                    del self._parked[worker.id]
        return None

    async def _claim(self, worker_id: str, asked: ClaimRequest) -> Claimed | None:
        return await self._store.claim_job(
            worker_id,
            asked.incarnation,
            asked.nonce,
            resident=asked.resident,
            now=self._clock.now(),
            limits=self.limits(),
        )

    def offer(self, need: Need, count: int = 1) -> None:
        """Wakes as many parked workers as can take these jobs, the best first."""
        for _ in range(min(count, len(self._parked))):
            free = [spot.view for spot in self._parked.values() if not spot.wake.is_set()]
            chosen = best_worker(need, free)
            if chosen is None:
                return
            self._parked[chosen].wake.set()

    def ended(self, need: Need) -> None:
        """A job of this need runs no more. Where a limit holds such jobs back, the next one may begin."""
        if any(bounds(need, self.limits(), NOTHING_RUNS)):
            self.offer(need)

    def offer_held(self, snapshot: Snapshot) -> None:
        """Wakes who can take jobs that a limit may have held back and does not any more, however that came."""
        for group in snapshot.groups if self._parked else ():
            left = [one.left for one in bounds(group.need, snapshot.limits, snapshot.running)]
            if left:
                self.offer(group.need, min(group.count, *left))

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


async def _woken(event: asyncio.Event, timeout_s: float) -> bool:
    if timeout_s <= 0:
        return False
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True

"""Slots as lanes: when each is free next, and which model it then has in memory."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from scaling.demand.catalogue import ORDERED, Catalogue, wish
from scaling.demand.supply import ENDLESS, Slots, slots_of
from scaling.estimate import Times
from scaling.place import Host, outlasts, runnable, warm
from scaling.policy import Policy
from scaling.snapshot import Need, WorkerView
from scaling.states import WorkerState
from scaling.whatif.boots import boot_of
from scaling.whatif.learned import Kind

SERVICE_S_MIN = 0.001
Signature = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Lane:
    """One slot. `free_s` is when it is free, by now; what is given to it moves that on.

    `ready`: its machine has booted. `now`: a job that is given to it first begins at once. `jobs` counts what was given
    to it.
    """

    worker_id: str
    kind: Kind
    slots: Slots
    bought: bool
    idle_s: float
    free_s: float
    resident: tuple[str, ...]
    ready: bool = True
    now: bool = False
    jobs: int = 0


def model_of(need: Need) -> str:
    """As workers name what is in their memory."""
    return f"{need.engine}/{need.model or ''}"


@dataclass(slots=True)
class Lanes:
    """All slots of one look. What a job finds warm is looked up by its model; for the rest there is one heap a sort."""

    times: Times
    lanes: list[Lane] = field(default_factory=list)
    _by_model: dict[str, list[Lane]] = field(default_factory=dict)
    _heaps: dict[Signature, list[tuple[float, bool, float, int, Lane]]] = field(default_factory=dict)
    _fit: dict[tuple[object, ...], bool] = field(default_factory=dict)
    _numbered: int = 0

    def add(self, lane: Lane) -> None:
        self.lanes.append(lane)
        for name in lane.resident:
            self._remember(name, lane)
        self._push(lane)

    def warm(self, need: Need) -> list[Lane]:
        """Those that have its model, or will have when they are free."""
        found = self._by_model.get(model_of(need), ()) if need.model else self.lanes
        key = wish(need)
        return [one for one in found if warm(need, one.resident) and self._fits(need, key, one)]

    def first(self, need: Need) -> Lane | None:
        """The one that is free first, whatever it has in memory: the bought before the ordered, then the last used."""
        key, best = wish(need), None
        for heap in self._heaps.values():
            while heap and heap[0][0] != heap[0][-1].free_s:
                heapq.heappop(heap)  # It was given something since.
            if heap and self._fits(need, key, heap[0][-1]) and (best is None or heap[0][:4] < best[:4]):
                best = heap[0]
        return best[-1] if best else None

    def give(self, lane: Lane, need: Need, count: int = 1) -> None:
        """Jobs of this need run there one after the other, after the load that the first of them may wait for."""
        wait_s = self.start_s(lane, need)
        lane.free_s = wait_s + count * self.service_s(need, lane.slots.host)
        if not warm(need, lane.resident):
            lane.resident = (model_of(need),)
            self._remember(lane.resident[0], lane)
        lane.jobs += count
        self._push(lane)

    def start_s(self, lane: Lane, need: Need) -> float:
        """When the service of one more job would begin there."""
        return lane.free_s if warm(need, lane.resident) else lane.free_s + self.load_s(need, lane.slots.host)

    def service_s(self, need: Need, host: Host) -> float:
        return max(SERVICE_S_MIN, self.times.service(need, host.gpu_class).mean_s)

    def load_s(self, need: Need, host: Host) -> float:
        return self.times.load(need, host.gpu_class).mean_s

    def _remember(self, name: str, lane: Lane) -> None:
        self._by_model.setdefault(name, []).append(lane)

    def _push(self, lane: Lane) -> None:
        heap = self._heaps.setdefault(lane.slots.key, [])
        self._numbered += 1
        heapq.heappush(heap, (lane.free_s, not lane.bought, lane.idle_s, self._numbered, lane))

    def _fits(self, need: Need, key: Signature, lane: Lane) -> bool:
        pair = (key, lane.slots.key)
        if pair not in self._fit:
            slots = lane.slots
            until_s = None if slots.until_s == ENDLESS else slots.until_s
            self._fit[pair] = outlasts(until_s, need) and runnable(need, slots.host, slots.host_id)
        return self._fit[pair]


def lanes_of(
    supply: Iterable[WorkerView], catalogue: Catalogue, times: Times, policy: Policy, apart: frozenset[str]
) -> Lanes:
    """The slots of all workers that jobs may count on. A machine on order is free when half of such boots are done."""
    lanes = Lanes(times)
    for worker in supply:
        slots = slots_of(worker, catalogue, times, policy, apart)
        kind = (worker.provider, worker.gpu_class, worker.usd_per_hour)
        for free_s, idle_s, _ in slots.fresh:
            ready = worker.state not in ORDERED
            at_s = free_s if ready else _ordered_s(worker, times)
            lanes.add(Lane(worker.id, kind, slots, slots.bought, idle_s, at_s, worker.resident, ready, ready))
        for (free_s, _, _), run in zip(slots.promised, worker.running, strict=True):
            resident = (f"{run.engine}/{run.model or ''}",)
            lanes.add(Lane(worker.id, kind, slots, bought=True, idle_s=0.0, free_s=free_s, resident=resident))
    return lanes


def _ordered_s(worker: WorkerView, times: Times) -> float:
    boot = boot_of(times.boot(worker.provider, worker.gpu_class))
    if worker.state is WorkerState.INTENDED:
        return max(0.0, worker.buy_in_s) + boot.rest_s(0.0)
    return boot.rest_s(max(worker.lease_age_s, worker.state_age_s))


def idle_order(worker: WorkerView) -> tuple[float, str]:
    """The last used first, so that surplus ages out."""
    return (worker.state_age_s if worker.idle_s is None else worker.idle_s, worker.id)

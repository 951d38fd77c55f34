"""Slots by when they are free: lanes of machines alike, each a pair of heaps."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from scaling.demand.catalogue import Catalogue, wish
from scaling.estimate import Times, remaining_s
from scaling.health import claims
from scaling.place import LEASE_MARGIN_S, Host, outlasts, runnable
from scaling.policy import Policy
from scaling.snapshot import Need, Offer, Running, WorkerView
from scaling.states import WorkerState

LEASE_STEPS_S = tuple(
    minutes * 60 + LEASE_MARGIN_S for minutes in (-1, 0, 1, 5, 10, 15, 20, 30, 45, 60, 90, 120, 240, 480)
)
"""What is left of a lease is rounded down to one of these, so that machines alike share a lane: just enough for
the time limits that jobs usually have.
"""
ENDLESS = math.inf
SERVICE_S_MIN = 0.001
Entry = tuple[float, float, str]
"""Seconds until it is free, seconds it has been idle (an owner's machine, then the most recently used), whose."""
LaneKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one machine: those free (now, or when it has booted) and when the busy ones will be."""

    key: LaneKey
    host: Host
    host_id: str
    until_s: float
    bought: bool
    fresh: tuple[Entry, ...]
    promised: tuple[Entry, ...] = ()


@dataclass(slots=True)
class Lane:
    """Machines that are alike to every job. `shift_s` is added to all promised times, which saves rewriting them."""

    host: Host
    gpu_class: str
    host_id: str
    until_s: float
    bought: bool
    fresh: list[Entry] = field(default_factory=list)
    promised: list[Entry] = field(default_factory=list)
    shift_s: float = 0.0
    flooded: bool = False

    def promise(self, entry: Entry, free_s: float) -> None:
        heapq.heappush(self.promised, (free_s - self.shift_s, entry[1], entry[2]))

    def flood(self, added_s: float) -> None:
        """Every slot is promised already, and is free `added_s` later."""
        self.shift_s += added_s
        self.flooded = True


@dataclass(slots=True)
class Reach:
    """The lanes that could run a need, and what was looked up of them.

    Slots are only ever free later than before, so that is a floor. `owed` jobs wait for these lanes and are not
    yet in their times.
    """

    need: Need
    lanes: Sequence[Lane]
    hosts: Sequence[Host]
    """One of each GPU class."""
    slots: int
    fresh_s: float = 0.0
    promised_s: float = 0.0
    owed: int = 0

    def look(self) -> None:
        """Notes when the first slots of either sort are free; infinite where there are none."""
        fresh = [lane.fresh[0][0] for lane in self.lanes if lane.fresh]
        promised = [lane.promised[0][0] + lane.shift_s for lane in self.lanes if lane.promised]
        self.fresh_s = min(fresh, default=math.inf)
        self.promised_s = min(promised, default=math.inf)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The latest start that is good enough, on a slot promised to nobody and on one that others wait for."""

    fresh_s: float
    promised_s: float

    def allow(self, reach: Reach) -> bool:
        """Whether a slot may be within them, by what was looked up before."""
        return math.inf > reach.fresh_s <= self.fresh_s or math.inf > reach.promised_s <= self.promised_s


Top = tuple[float, bool, Entry, Lane, list[Entry]]


@dataclass(frozen=True, slots=True)
class Pick:
    lane: Lane
    entry: Entry
    free_s: float


class Pool:
    """All supply of one walk."""

    def __init__(self, slots: Iterable[Slots], times: Times) -> None:
        self._lanes: dict[LaneKey, Lane] = {}
        self._times = times
        self._reaches: dict[tuple[object, ...], Reach] = {}
        self.used: set[str] = set()
        for one in slots:
            lane = self._lane(one)
            lane.fresh.extend(one.fresh)
            lane.promised.extend(one.promised)
        for lane in self._lanes.values():
            heapq.heapify(lane.fresh)
            heapq.heapify(lane.promised)

    def _lane(self, slots: Slots) -> Lane:
        if slots.key not in self._lanes:
            self._lanes[slots.key] = Lane(
                slots.host, slots.host.gpu_class, slots.host_id, slots.until_s, slots.bought
            )

        return self._lanes[slots.key]

    def add(self, slots: Slots) -> None:
        """A machine ordered during the walk. What was looked up before it does not hold any more."""
        self._pour()
        self._reaches.clear()
        lane = self._lane(slots)
        for entry in slots.fresh:
            heapq.heappush(lane.fresh, entry)

    def reach(self, need: Need, *, bought: bool = False) -> Reach:
        """The lanes that could run this need; with `bought`, without those that are only intended."""
        key = (*wish(need), bought)
        if key not in self._reaches:
            found = [one for one in self._lanes.values() if one.bought >= bought and self._fits(need, one)]
            hosts = {one.gpu_class: one.host for one in found}
            slots = sum(len(one.fresh) + len(one.promised) for one in found)
            self._reaches[key] = Reach(need, found, tuple(hosts.values()), slots)
        return self._reaches[key]

    def _fits(self, need: Need, lane: Lane) -> bool:
        until_s = None if lane.until_s == ENDLESS else lane.until_s
        return (
            bool(lane.fresh or lane.promised)
            and outlasts(until_s, need)
            and runnable(need, lane.host, lane.host_id)
        )

    def pick(self, reach: Reach, bounds: Bounds) -> Pick | None:
        """Takes the slot that is free first, within the bounds; among equals the bought, then the last used."""
        if not bounds.allow(reach):
            return None
        self._pour()
        best = min(_tops(reach, bounds), key=lambda top: top[:3], default=None)
        if best is None:
            return None
        free_s, _, entry, lane, heap = best
        heapq.heappop(heap)
        self.used.add(entry[2])
        return Pick(lane, entry, free_s)

    def first_s(self, reach: Reach) -> float:
        """Seconds until a first slot is free, whoever it is promised to; infinite where there is none."""
        self._pour()
        reach.look()
        return min(reach.fresh_s, reach.promised_s)

    def service_s(self, need: Need, host: Host) -> float:
        return max(SERVICE_S_MIN, self._times.service(need, host.gpu_class).mean_s)

    def _pour(self) -> None:
        """Adds what is owed to the times of the lanes; put off until somebody reads them."""
        for reach in self._reaches.values():
            if reach.owed:
                share = reach.owed / reach.slots
                added_s = {one.gpu_class: share * self.service_s(reach.need, one) for one in reach.hosts}
                for lane in reach.lanes:
                    lane.flood(added_s[lane.gpu_class])
                reach.owed = 0

    def used_ids(self) -> frozenset[str]:
        """Whose slots the walk gave work to."""
        self._pour()
        flooded = (entry[2] for lane in self._lanes.values() if lane.flooded for entry in lane.promised)
        return frozenset(self.used.union(flooded))


def _tops(reach: Reach, bounds: Bounds) -> Iterator[Top]:
    """The first slot of every heap that has one within the bounds."""
    reach.look()
    fresh_s, promised_s = reach.fresh_s, reach.promised_s
    first_s = min(
        fresh_s if fresh_s <= bounds.fresh_s else math.inf,
        promised_s if promised_s <= bounds.promised_s else math.inf,
    )
    for lane in reach.lanes:
        if fresh_s == first_s and lane.fresh and lane.fresh[0][0] == first_s:
            yield first_s, not lane.bought, lane.fresh[0], lane, lane.fresh
        if promised_s == first_s and lane.promised and lane.promised[0][0] + lane.shift_s == first_s:
            yield first_s, not lane.bought, lane.promised[0], lane, lane.promised


def slots_of(
    worker: WorkerView, catalogue: Catalogue, times: Times, policy: Policy, apart: frozenset[str]
) -> Slots:
    """The slots of a worker that is supply. Workers in `apart` are avoided by some, and get their own lane."""
    host = catalogue.host(worker)
    until_s = until_s_of(worker)
    bought = worker.state is not WorkerState.INTENDED
    host_id = worker.id if worker.id in apart else ""
    if worker.state is WorkerState.READY:
        fresh, promised = _ready_slots(worker, times, policy)
    else:
        fresh, promised = _ordered_slots(worker, catalogue, times), ()
    return Slots(lane_key(host, host_id, until_s, bought), host, host_id, until_s, bought, fresh, promised)


def launch_slots(offer: Offer, name: str, free_s: float) -> Slots:
    """The slots that a launch will have; they are those of the intent that it becomes."""
    key = lane_key(offer, "", ENDLESS, bought=False)
    return Slots(key, offer, "", ENDLESS, bought=False, fresh=((free_s, 0.0, name),) * offer.capacity)


def lane_key(host: Host, host_id: str, until_s: float, bought: bool) -> LaneKey:  # noqa: FBT001
    gpu = (host.provider, host.gpu_class, host.vram_gb, host.usd_per_hour)
    return (*gpu, host.capabilities, host.queues, host_id, until_s, bought)


def until_s_of(worker: WorkerView) -> float:
    """How long its lease lasts yet, rounded down so that machines alike are alike."""
    return ENDLESS if worker.lease_left_s is None else _step_down(worker.lease_left_s)


def _step_down(left_s: float) -> float:
    return LEASE_STEPS_S[max(0, bisect_right(LEASE_STEPS_S, left_s) - 1)]


def _ready_slots(
    worker: WorkerView, times: Times, policy: Policy
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    free = worker.free_slots if claims(worker, policy) else 0
    idle_s = -1.0 if worker.owned else worker.idle_s or 0.0
    fresh = ((0.0, idle_s, worker.id),) * free
    busy = [(rest_s(run, worker.gpu_class, times), 0.0, worker.id) for run in worker.running]
    return fresh, tuple(busy)


def rest_s(run: Running, gpu_class: str, times: Times) -> float:
    """What is likely left of a run."""
    load_s = times.load_of(run.engine, run.model, gpu_class).mean_s if run.loads else 0.0
    whole = times.service_of(run.engine, run.model, gpu_class)
    return max(0.0, min(run.time_left_s, remaining_s(whole, run.run_s, load_s)))


def _ordered_slots(worker: WorkerView, catalogue: Catalogue, times: Times) -> tuple[Entry, ...]:
    """A boot that overruns is never taken to last longer than a new one would, or each would buy another."""
    boot = times.boot(worker.provider, worker.gpu_class)
    if worker.state is WorkerState.INTENDED:
        eta_s = max(0.0, worker.buy_in_s) + boot.mean_s
    else:
        eta_s = min(boot.mean_s, remaining_s(boot, worker.ordered_s))
    return ((eta_s, 0.0, worker.id),) * capacity_of(worker, catalogue)


def capacity_of(worker: WorkerView, catalogue: Catalogue) -> int:
    """How many slots it will have; as long as it says nothing of itself, its offer does."""
    offer = None if worker.capabilities else catalogue.of(worker)
    return worker.capacity if offer is None else offer.capacity

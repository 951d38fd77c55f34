"""Slots as lanes: when each is free next, and which model it then has in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

from scaling.demand.catalogue import ORDERED, Catalogue, wish
from scaling.demand.supply import ENDLESS, SERVICE_S_MIN, LaneKey, capacity_of, lane_key, rest_s, until_s_of
from scaling.estimate import Times
from scaling.health import claims
from scaling.place import Host, outlasts, runnable
from scaling.policy import Policy
from scaling.snapshot import Need, WorkerView
from scaling.states import WorkerState
from scaling.whatif.boots import Boot, boot_of


@dataclass(slots=True, eq=False)
class Sort:
    """Machines that are alike to every job. Its heap has every lane of it, at the time at which it was free once."""

    host: Host
    host_id: str
    until_s: float
    heap: "list[tuple[float, float, int, Lane]]" = field(default_factory=list)

    def first(self) -> "tuple[float, float, int, Lane]":
        """The lane that is free first, then the last used, then the last given to.

        Lanes are only ever free later than before, so that whatever comes up outdated is put back by what holds now.
        """
        heap = self.heap
        while heap[0][0] != (lane := heap[0][-1]).free_s:
            heapreplace(heap, (lane.free_s, lane.idle_s, lane.number, lane))
        return heap[0]


@dataclass(slots=True, eq=False)
class Lane:
    """One slot. `free_s` is when it is free, by now; what is given to it moves that on.

    `ready`: its machine has booted. `now`: a job that is given to it first begins at once. `jobs` counts what was given
    to it. `too_late`: the first of them begins late there. A machine on order has its `boot`, and how old that is.
    """

    worker_id: str
    sort: Sort
    idle_s: float
    free_s: float
    resident: tuple[str, ...]
    place: int
    number: int
    ready: bool = True
    now: bool = False
    jobs: int = 0
    too_late: bool = False
    boot: Boot | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A job of a need on a sort of machines. Seconds."""

    load_s: float
    service_s: float


@dataclass(slots=True, eq=False)
class Task:
    """What was looked up of needs that ask the same of a machine. `name` is the model, as workers name it."""

    need: Need
    name: str
    able: dict[Sort, Run]
    """Where it can run."""
    known: "list[Lane]"
    """Those that got its model, in that order."""
    got: "tuple[list[Lane], ...]"
    """What a lane that gets its model is added to."""
    warm: list[tuple[float, int, int, Lane]] = field(default_factory=list)
    """A heap of lanes with its model. What is outdated is put right when it comes up."""
    seen: int = 0
    """How many of the known lanes are in there."""

    def is_warm(self, lane: Lane) -> bool:
        if self.need.model is not None:
            return self.name in lane.resident
        return any(one.startswith(self.name) for one in lane.resident)


def model_of(need: Need) -> str:
    """As workers name what is in their memory."""
    return f"{need.engine}/{need.model or ''}"


class Lanes:
    """All slots of one look. What a job finds warm is looked up by its model; for the rest there is one heap a sort."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self.lanes: list[Lane] = []
        self.on_order: list[Lane] = []
        self._sorts: dict[LaneKey, Sort] = {}
        self._tasks: dict[tuple[object, ...], Task] = {}
        self._by_name: dict[str, tuple[list[Lane], ...]] = {}
        """Which lanes got a model, in that order, and which got any of its engine; the latter also by the engine."""
        self._given = 0

    def sort(self, host: Host, host_id: str, until_s: float) -> Sort:
        key = lane_key(host, host_id, until_s, bought=True)
        found = self._sorts.get(key)
        if found is None:
            found = self._sorts[key] = Sort(host, host_id, until_s)
        return found

    def add(self, lane: Lane) -> None:
        self.lanes.append(lane)
        if not lane.ready:
            self.on_order.append(lane)
        for name in lane.resident:
            for known in self._got(name):
                known.append(lane)
        lane.sort.heap.append((lane.free_s, lane.idle_s, lane.number, lane))

    def close(self) -> None:
        """All lanes are there."""
        for one in self._sorts.values():
            heapify(one.heap)

    def task(self, need: Need) -> Task:
        key = wish(need)
        found = self._tasks.get(key)
        if found is None:
            got = self._got(name := model_of(need))
            runs = {one: run for one in self._sorts.values() if one.heap and (run := self._run(need, one))}
            found = self._tasks[key] = Task(need, name, runs, got[0], got)
        return found

    def warm(self, task: Task) -> Lane | None:
        """Of those that have its model, or will have when they are free, the one that is free first."""
        if task.seen < len(task.known):
            self._see(task)
        heap = task.warm
        while heap:
            free_s, rank, place, lane = heap[0]
            if not task.is_warm(lane):
                heappop(heap)
            elif free_s != lane.free_s:
                heapreplace(heap, (lane.free_s, rank, place, lane))
            else:
                return lane
        return None

    def first(self, task: Task) -> Lane | None:
        """The one that is free first, whatever it has in memory, and then the last used."""
        best = None
        for sort in task.able:
            entry = sort.first()
            if best is None or entry < best:
                best = entry
        return best[-1] if best else None

    def soonest(self, task: Task) -> tuple[float, Lane] | None:
        """The lane on which one more job begins first, its load counted, and when."""
        first = self.first(task)
        if first is None:
            return None
        start_s, warm = self.start_s(first, task), self.warm(task)
        return (start_s, first) if warm is None or warm.free_s > start_s else (warm.free_s, warm)

    def likeliest(self, task: Task, due_s: float) -> Lane | None:
        """Of the machines on order that have nothing to do yet, the one that may begin such a job by then: the one
        that does with the most certainty.
        """
        best, best_share = None, 0.0
        for lane in self.on_order:
            if lane.boot is None or lane.jobs or not (run := task.able.get(lane.sort)):
                continue
            share = lane.boot.share_within(due_s - run.load_s, lane.age_s) if due_s > run.load_s else 0.0
            if share > best_share:
                best, best_share = lane, share
        return best

    def give(self, lane: Lane, task: Task) -> None:
        """A job runs there, after the load that it may wait for."""
        run = task.able[lane.sort]
        if task.is_warm(lane):
            lane.free_s += run.service_s
        else:
            lane.free_s = lane.free_s + run.load_s + run.service_s
            lane.resident = (task.name,)
            for known in task.got:
                known.append(lane)
        lane.jobs += 1
        self._given += 1
        lane.number = len(self.lanes) + self._given

    def start_s(self, lane: Lane, task: Task) -> float:
        """When the service of one more job would begin there."""
        return lane.free_s if task.is_warm(lane) else lane.free_s + task.able[lane.sort].load_s

    def service_s(self, lane: Lane, task: Task) -> float:
        return task.able[lane.sort].service_s

    def least_service_s(self, task: Task) -> float:
        """On the quickest class that is there."""
        classes = {one.host.gpu_class for one in self._sorts.values() if one.heap} or {""}
        return min(self._times.service(task.need, one).mean_s for one in classes)

    def _run(self, need: Need, sort: Sort) -> Run | None:
        """What a job takes there; None where it cannot run."""
        until_s = None if sort.until_s == ENDLESS else sort.until_s
        if not (outlasts(until_s, need) and runnable(need, sort.host, sort.host_id)):
            return None
        load_s = self._times.load(need, sort.host.gpu_class).mean_s
        service_s = self._times.service(need, sort.host.gpu_class).mean_s
        return Run(load_s, max(SERVICE_S_MIN, service_s))

    def _got(self, name: str) -> tuple[list[Lane], ...]:
        """The lanes that got a model, and those that got any of its engine."""
        found = self._by_name.get(name)
        if found is None:
            engine, _, model = name.partition("/")
            own: list[Lane] = []
            found = self._by_name[name] = (own, *self._got(f"{engine}/")) if model else (own,)
        return found

    def _see(self, task: Task) -> None:
        """Takes up the lanes that got its model since the last time. Among equals the first that got it is first."""
        for place in range(task.seen, len(task.known)):
            lane = task.known[place]
            if lane.sort in task.able:
                rank = place if task.need.model else lane.place
                heappush(task.warm, (lane.free_s, rank, place, lane))
        task.seen = len(task.known)


def lanes_of(
    supply: Iterable[WorkerView], catalogue: Catalogue, times: Times, policy: Policy, apart: frozenset[str]
) -> Lanes:
    """The slots of all workers that jobs may count on. A machine on order is free when half of such boots are done;
    one that is only intended is not counted on, as each look makes up its mind anew.

    Workers in `apart` are avoided by some jobs, and are of a sort of their own.
    """
    lanes = Lanes(times)
    for worker in supply:
        if worker.state is WorkerState.INTENDED:
            continue
        host_id = worker.id if worker.id in apart else ""
        sort = lanes.sort(catalogue.host(worker), host_id, until_s_of(worker))
        ready = worker.state not in ORDERED
        for free_s, idle_s, resident, now in _slots(worker, catalogue, times, policy):
            place = len(lanes.lanes)
            lane = Lane(worker.id, sort, idle_s, free_s, resident, place, place, ready, now)
            if not ready:
                lane.boot = boot_of(times.boot(worker.provider, worker.gpu_class))
                lane.age_s = worker.ordered_s
            lanes.add(lane)
    lanes.close()
    return lanes


def _slots(
    worker: WorkerView, catalogue: Catalogue, times: Times, policy: Policy
) -> Iterator[tuple[float, float, tuple[str, ...], bool]]:
    """Of each slot when it is free, how long it has been idle, what it has in memory, and whether it is free now."""
    if worker.state is not WorkerState.READY:
        free_s = _ordered_s(worker, times)
        now = worker.state not in ORDERED
        for _ in range(capacity_of(worker, catalogue)):
            yield free_s, 0.0, worker.resident, now
        return
    free = worker.free_slots
    if free and claims(worker, policy):
        idle_s = -1.0 if worker.owned else worker.idle_s or 0.0
        for _ in range(free):
            yield 0.0, idle_s, worker.resident, True
    for run in worker.running:
        yield rest_s(run, worker.gpu_class, times), 0.0, (f"{run.engine}/{run.model or ''}",), False


def _ordered_s(worker: WorkerView, times: Times) -> float:
    return boot_of(times.boot(worker.provider, worker.gpu_class)).rest_s(worker.ordered_s)


def idle_order(worker: WorkerView) -> tuple[float, str]:
    """The last used first, so that surplus ages out."""
    return (worker.spare_s, worker.id)

"""A schedule by somebody who knows every arrival and how long it runs: for each gap, the machine is kept or dropped.

Jobs are placed in the order in which they come. A job goes to the machine where that costs least: the gap until it
comes and the load of its model; or to a new one, which costs a start, is ready at the last moment that is in time, and
so has more jobs of that model to run. A machine that has a model runs what waits for that model before anything else.
A share may be late: those whose places cost most, found by doing it again; they run when their model is there.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scaling.simulate.offline.schedule import Lease, Schedule, Turn, calm
from scaling.simulate.scenario import Scenario
from scaling.simulate.trace import Arrival, Trace

LATE_SHARE = 0.05
ROUNDS = 8
"""The late are chosen in so many parts, each where the schedule without the parts before costs most."""
START_WEIGHTS = (0.5, 0.7, 0.85, 1.0, 1.2)
"""A start is worth more than it costs where its machine gathers more jobs, and less where a kept one meets them."""
CLOSE_S = 1e-6
"""Moments so close are one."""
MARGIN_S = 1e-3
"""So much is left of the limit, so that nobody is late by a rounding of the log."""


def clairvoyant(trace: Trace, scenario: Scenario, limit_s: float, late_share: float = LATE_SHARE) -> Schedule:
    """The cheapest of the schedules tried whose p95 wait is at most `limit_s`, with at most `late_share` above it.

    Raises:
        ValueError: a scenario with several offers, or one billed in steps; or no schedule is in time.
    """
    world = calm(scenario)
    tried = [
        one
        for weight in START_WEIGHTS
        for one in _rounds(trace, world, (limit_s - MARGIN_S, late_share), weight)
    ]
    in_time = [one for one in tried if one.wait_s(0.95) <= limit_s and _peak(one) <= world.workers_max]
    if not in_time:
        raise ValueError(f"no schedule has a p95 wait of {limit_s:g} s")
    return min(in_time, key=lambda one: one.billed_s)


def _rounds(trace: Trace, world: Scenario, late: tuple[float, float], weight: float) -> Iterator[Schedule]:
    """Schedules with more and more late jobs. `late` is from which wait on, and what share."""
    limit_s, share = late
    budget, patient = int((len(trace.arrivals) - 1) * share), frozenset[int]()
    for turn in range(ROUNDS + 1 if budget else 1):
        made = _Placing(trace, world, limit_s, weight, patient).schedule()
        yield made
        overdue = {
            one.job.row for lease in made.leases for one in lease.turns if one.wait_s > limit_s + CLOSE_S
        }
        free = budget * (turn + 1) // ROUNDS - len(patient | overdue)
        patient |= frozenset(_costliest(made, patient, free))


def _costliest(schedule: Schedule, patient: frozenset[int], free: int) -> Iterator[int]:
    """Jobs, at most `free`, without which the ends of leases, or all of a lease, would fall away."""
    ends = [end for lease in schedule.leases if (end := _end(lease, patient, schedule.scenario))]
    for _, rows in sorted(ends, key=lambda one: (-one[0], one[1])):
        if len(rows) <= free:
            free -= len(rows)
            yield from rows


def _end(lease: Lease, patient: frozenset[int], world: Scenario) -> tuple[float, list[int]] | None:
    """The last turns of a lease that are worth most for each job, and what they are worth but for their services."""
    best: tuple[float, list[int]] | None = None
    rows: list[int] = []
    saved_s = 0.0
    for place in reversed(range(len(lease.turns))):
        turn = lease.turns[place]
        if turn.job.row not in patient:
            rows.append(turn.job.row)
        if place:
            saved_s += turn.load_s + turn.start_s - lease.turns[place - 1].end_s
        else:
            saved_s += (
                turn.load_s
                + turn.start_s
                - (lease.launch_s if world.offers[0].boot_billed else lease.ready_s)
            )
        if rows and (best is None or saved_s / len(rows) > best[0]):
            best = (saved_s / len(rows), list(rows))
    return best


def _peak(schedule: Schedule) -> int:
    moments = sorted(
        [(one.launch_s, 1) for one in schedule.leases] + [(one.end_s, -1) for one in schedule.leases]
    )
    live = peak = 0
    for _, change in moments:
        live += change
        peak = max(peak, live)
    return peak


@dataclass(slots=True)
class _Queue:
    """Jobs of one model that have no place yet, in the order in which they come."""

    jobs: list[Arrival] = field(default_factory=list)
    patient: list[Arrival] = field(default_factory=list)

    def take(self, at_s: float, limit_s: float) -> Arrival | None:
        """The first that has come and is in time at that moment; then one that has patience."""
        for place in range(bisect_right(self.jobs, at_s, key=_came)):
            if at_s <= self.jobs[place].t_s + limit_s + CLOSE_S:
                return self.jobs.pop(place)
        return self.patient.pop(0) if self.patient and self.patient[0].t_s <= at_s else None


def _came(job: Arrival) -> float:
    return job.t_s


class _Placing:
    """One pass over the jobs."""

    def __init__(
        self, trace: Trace, world: Scenario, limit_s: float, weight: float, patient: frozenset[int]
    ) -> None:
        terms = world.offers[0]
        gpu = world.gpu_classes[terms.gpu_class]
        self._world, self._limit_s = world, limit_s
        self._boot_s, self._load_s, self._factor = terms.boot.median_s, gpu.load_s, gpu.service_factor
        start_s = (self._boot_s if terms.boot_billed else 0.0) + self._load_s
        self._start_s = weight * start_s
        self._jobs = trace.arrivals
        self._queues: dict[tuple[str, str], _Queue] = {}
        for job in trace.arrivals:
            queue = self._queue(job)
            (queue.patient if job.row in patient else queue.jobs).append(job)
        self._leases: list[Lease] = []
        self._open: list[Lease] = []

    def schedule(self) -> Schedule:
        for job in self._jobs:
            queue = self._queue(job)
            if queue.jobs and queue.jobs[0] is job:
                self._place(queue.jobs.pop(0), queue)
        self._leftovers()
        return Schedule(self._world, sorted(self._leases, key=lambda one: one.launch_s))

    def _queue(self, job: Arrival) -> _Queue:
        return self._queues.setdefault((job.need.engine, job.model), _Queue())

    def _place(self, job: Arrival, queue: _Queue) -> None:
        """Where it costs least. A machine whose gap costs more than a start is dropped: later jobs do not need it."""
        self._open = [one for one in self._open if job.t_s - one.end_s <= self._start_s]
        found = [
            (cost_s, place)
            for place, one in enumerate(self._open)
            if (cost_s := self._cost_s(one, job)) is not None
        ]
        cost_s, place = min(found, default=(self._start_s, -1))
        if cost_s < self._start_s:
            self._run(self._open[place], job, queue)
        else:
            self._run(self._launch(job), job, queue)

    def _cost_s(self, lease: Lease, job: Arrival) -> float | None:
        """Seconds that a machine which is there already is paid longer, but for the service; None: it is too late."""
        load_s = 0.0 if lease.holds(job) else self._load_s
        start_s = max(lease.end_s, job.t_s)
        if start_s + load_s > job.t_s + self._limit_s + CLOSE_S:
            return None
        return start_s - lease.end_s + load_s

    def _launch(self, job: Arrival) -> Lease:
        """A machine that begins this job at the last moment; nothing is launched before the trace begins."""
        ready_s = max(self._boot_s, job.t_s + max(0.0, self._limit_s - self._load_s))
        lease = Lease(ready_s - self._boot_s, ready_s)
        self._leases.append(lease)
        self._open.append(lease)
        return lease

    def _run(self, lease: Lease, job: Arrival | None, queue: _Queue) -> None:
        """The job, and all of its model that are there then."""
        while job is not None:
            load_s = 0.0 if lease.holds(job) else self._load_s
            start_s = max(lease.end_s, job.t_s)
            end_s = start_s + load_s + job.service_s * self._factor
            lease.turns.append(Turn(job, start_s, load_s, end_s))
            job = queue.take(end_s, self._limit_s)

    def _leftovers(self) -> None:
        """Those whose model came nowhere again share one machine, after all have come."""
        left: Sequence[_Queue] = [one for one in self._queues.values() if one.patient]
        if left:
            ready_s = max(self._boot_s, self._jobs[-1].t_s)
            self._leases.append(Lease(ready_s - self._boot_s, ready_s))
        for queue in left:
            self._run(self._leases[-1], queue.patient.pop(0), queue)

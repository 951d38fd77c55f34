"""The walk: the queue over the lanes, in the order that loads fewest models and still lets jobs begin in time.

First each job that can begin in time where its model is in memory, also on a machine that is still busy. Then, the
most urgent first, those that can begin in time after a load, each with all of its kind that are in time behind it.
Then, alike, those for which a machine on order may still be in time, though it is not likely.
What is left would be late: it asks for machines. Jobs that are late already come last, since they cannot be saved.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scaling.demand.catalogue import Fit
from scaling.snapshot import AGES_MAX, JobGroup, Need
from scaling.whatif.lanes import Lane, Lanes, Task

MARGIN_SHARE = 0.25
"""A job waits for a busy machine only if it would be in time there with so much of a service to spare."""
LATE_LANE_JOBS = 4
"""So many late jobs for each lane are placed one by one; more only make the backlog longer."""


Due = tuple[float, int]
"""By when so many jobs must begin, in seconds from now."""


@dataclass(slots=True, eq=False)
class Ask:
    """The first `count` jobs of a group on their way.

    `dues`: by when jobs must begin, the most urgent first; `late` is how many must have begun before now, or cannot
    be in time any more. `held` is how many are given to machines that have their model and are not free yet.
    """

    group: JobGroup
    task: Task
    fits: Sequence[Fit]
    """What could be leased for them, the cheapest first."""
    count: int
    dues: list[Due]
    late: int
    held: int = 0
    backlog: int = 0
    """Late jobs that no lane was found for."""

    @property
    def need(self) -> Need:
        return self.group.need

    @property
    def fit(self) -> Fit | None:
        return self.fits[0] if self.fits else None


@dataclass(frozen=True, slots=True)
class Short:
    """Jobs of an ask that would be late with what there is."""

    due_s: float
    count: int
    ask: Ask


def ask_of(group: JobGroup, task: Task, fits: Sequence[Fit], count: int, target_s: float) -> Ask:
    """The first `count` jobs of a group. The oldest has the group's own limit too."""
    ages_s = group.ages_s or (group.oldest_age_s,)
    dues = [(target_s - age_s, jobs) for age_s, jobs in _each(ages_s, group.count, count)]
    if group.slack_s is not None and dues:
        first_s, jobs = dues[0]
        dues[:1] = [(min(first_s, max(0.0, group.slack_s)), 1), *([(first_s, jobs - 1)] if jobs > 1 else [])]
    late = sum([jobs for due_s, jobs in dues if due_s < 0])
    return Ask(group, task, fits, count, [one for one in dues if one[0] >= 0], late)


def _each(ages_s: Sequence[float], known: int, count: int) -> Iterator[tuple[float, int]]:
    """The ages of the first jobs, each with how many have it, where only those at even ranks are known."""
    if known <= len(ages_s):
        for age_s in ages_s[:count]:
            yield age_s, 1
        return
    last = len(ages_s) - 1
    step = last / max(1, known - 1) if len(ages_s) == AGES_MAX else 0.0
    begin = 0
    for rank, age_s in enumerate(ages_s):
        end = _first_place(rank + 1, step, count) if rank < last else count
        if end > begin:
            yield age_s, end - begin
        begin = end


def _first_place(rank: int, step: float, count: int) -> int:
    """The first of `count` places that is of this rank, or of a later one."""
    if int((count - 1) * step) < rank:
        return count
    place = int(rank / step)
    while place and int((place - 1) * step) >= rank:
        place -= 1
    while int(place * step) < rank:
        place += 1
    return place


def place_in_time(asks: Sequence[Ask], lanes: Lanes) -> list[Short]:
    """The three first passes; returns what would be late, the most urgent first."""
    for ask in asks:
        _on_warm(ask, lanes)
    for ask in sorted([one for one in asks if one.dues], key=_urgency):
        while ask.dues and _on_cold(ask, lanes):
            _on_warm(ask, lanes)
    for ask in sorted([one for one in asks if one.dues], key=_urgency):
        while ask.dues and _on_order(ask, lanes):
            _on_warm(ask, lanes)
    return sorted([Short(*due, ask) for ask in asks for due in ask.dues], key=lambda one: one.due_s)


def _urgency(ask: Ask) -> tuple[int, float]:
    return (-ask.need.priority, ask.dues[0][0])


def _on_warm(ask: Ask, lanes: Lanes) -> None:
    """Jobs in a row on machines that have their model, while they are in time."""
    lane = lanes.warm(ask.task) if ask.dues else None
    if lane is None:
        return
    margin_s = MARGIN_SHARE * lanes.service_s(lane, ask.task)
    left = []
    for due_s, count in ask.dues:
        given = 0
        while given < count and lane is not None and _ready_s(lane, margin_s) <= due_s:
            _give(ask, lane, lanes)
            given += 1
            lane = lanes.warm(ask.task)
        if given < count:
            left.append((due_s, count - given))
    ask.dues = left


def _ready_s(lane: Lane, margin_s: float) -> float:
    """When it is free, with something to spare if somebody must finish on it first."""
    return lane.free_s + margin_s if lane.ready and lane.free_s > 0.0 else lane.free_s


def _on_cold(ask: Ask, lanes: Lanes) -> bool:
    """The most urgent job on the lane that is free first, if it is in time there after its load."""
    lane = lanes.first(ask.task)
    due_s, count = ask.dues[0]
    if lane is None or lanes.start_s(lane, ask.task) > due_s:
        return False
    _give(ask, lane, lanes)
    ask.dues[:1] = [(due_s, count - 1)] if count > 1 else []
    return True


def _on_order(ask: Ask, lanes: Lanes) -> bool:
    """The most urgent job on a machine on order that may yet be in time: another one would hardly be so sooner."""
    due_s, count = ask.dues[0]
    lane = lanes.likeliest(ask.task, due_s)
    if lane is None:
        return False
    _give(ask, lane, lanes)
    ask.dues[:1] = [(due_s, count - 1)] if count > 1 else []
    return True


def _give(ask: Ask, lane: Lane, lanes: Lanes) -> None:
    if lane.jobs or not lane.now:
        ask.held += 1
    lanes.give(lane, ask.task)


def place_late(asks: Iterable[Ask], lanes: Lanes, horizon_s: float, most_s: float) -> float:
    """Late jobs where they begin first. Returns the seconds of work of those that begin after the horizon, of each
    `most_s` at most: however long it takes, it takes one machine.

    Far more of them than lanes are not placed one by one.
    """
    room, overflow_s = LATE_LANE_JOBS * len(lanes.lanes), 0.0
    for ask in asks:
        for place in range(ask.late):
            found = lanes.soonest(ask.task) if room > 0 else None
            if found is None:
                ask.backlog = ask.late - place
                overflow_s += ask.backlog * min(most_s, lanes.least_service_s(ask.task))
                break
            room -= 1
            start_s, lane = found
            lane.too_late = lane.too_late or not lane.jobs
            if start_s > horizon_s:
                overflow_s += min(most_s, lanes.service_s(lane, ask.task))
            _give(ask, lane, lanes)
    return overflow_s


def oldest_late_s(asks: Iterable[Ask]) -> float:
    """The age of the oldest job that is late; infinitely young where none is."""
    return max((one.group.oldest_age_s for one in asks if one.late), default=-math.inf)

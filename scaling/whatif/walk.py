"""The walk: the queue over the lanes, in the order that loads fewest models and still lets jobs begin in time.

First each job that can begin in time where its model is in memory, also on a machine that is still busy. Then, the
most urgent first, those that can begin in time after a load, each with all of its kind that are in time behind it.
What is left would be late: it asks for machines. Jobs that are late already come last, since they cannot be saved.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaling.snapshot import AGES_MAX, JobGroup, Need
from scaling.whatif.lanes import Lane, Lanes

MARGIN_SHARE = 0.25
"""A job waits for a busy machine only if it would be in time there with so much of a service to spare."""
LATE_LANE_JOBS = 4
"""So many late jobs for each lane are placed one by one; more only make the backlog longer."""


@dataclass(slots=True)
class Ask:
    """The first `count` jobs of a group on their way.

    `due_s`: by when jobs must begin, from now, the most urgent first; `late` is how many must have begun before now,
    or cannot be in time any more.
    `held` is how many are given to machines that have their model and are not free yet.
    """

    group: JobGroup
    count: int
    due_s: list[float]
    late: int
    held: int = 0
    backlog: int = 0
    """Late jobs that no lane was found for."""

    @property
    def need(self) -> Need:
        return self.group.need


def ask_of(group: JobGroup, count: int, target_s: float) -> Ask:
    """The first `count` jobs of a group. The oldest has the group's own limit too."""
    ages_s = group.ages_s or (group.oldest_age_s,)
    due_s = [target_s - age_s for age_s in _each(ages_s, group.count, count)]
    if group.slack_s is not None and due_s:
        due_s[0] = min(due_s[0], max(0.0, group.slack_s))
    late = sum(one < 0 for one in due_s)
    return Ask(group, count, due_s[late:], late)


def _each(ages_s: Sequence[float], known: int, count: int) -> Iterable[float]:
    """An age for each of the first jobs, where only those at even ranks are known."""
    if known <= len(ages_s):
        return ages_s[:count]
    last = len(ages_s) - 1
    step = last / max(1, known - 1) if len(ages_s) == AGES_MAX else 0.0
    return [ages_s[min(last, int(place * step))] for place in range(count)]


def place_in_time(asks: Sequence[Ask], lanes: Lanes) -> list[tuple[float, Ask]]:
    """The two first passes; returns what would be late, the most urgent first."""
    for ask in asks:
        _on_warm(ask, lanes)
    for ask in sorted((one for one in asks if one.due_s), key=_urgency):
        while ask.due_s and _on_cold(ask, lanes):
            _on_warm(ask, lanes)
    return sorted(((due_s, ask) for ask in asks for due_s in ask.due_s), key=lambda one: one[0])


def _urgency(ask: Ask) -> tuple[int, float]:
    return (-ask.need.priority, ask.due_s[0])


def _on_warm(ask: Ask, lanes: Lanes) -> None:
    """Jobs in a row on machines that have their model, while they are in time."""
    if not ask.due_s:
        return
    heap = [(one.free_s, place, one) for place, one in enumerate(lanes.warm(ask.need))]
    heapq.heapify(heap)
    margin_s = MARGIN_SHARE * lanes.service_s(ask.need, heap[0][2].slots.host) if heap else 0.0
    left = []
    for place, due_s in enumerate(ask.due_s):
        if not heap:
            left += ask.due_s[place:]
            break
        free_s, number, lane = heap[0]
        spare_s = margin_s if lane.ready and free_s > 0.0 else 0.0
        if free_s + spare_s > due_s:
            left.append(due_s)
            continue
        _give(ask, lane, lanes)
        heapq.heapreplace(heap, (lane.free_s, number, lane))
    ask.due_s = left


def _on_cold(ask: Ask, lanes: Lanes) -> bool:
    """The most urgent job on the lane that is free first, if it is in time there after its load."""
    lane = lanes.first(ask.need)
    if lane is None or lanes.start_s(lane, ask.need) > ask.due_s[0]:
        return False
    _give(ask, lane, lanes)
    del ask.due_s[0]
    return True


def _give(ask: Ask, lane: Lane, lanes: Lanes) -> None:
    at_once = lane.now and not lane.jobs
    ask.held += not at_once
    lanes.give(lane, ask.need)


def place_late(asks: Iterable[Ask], lanes: Lanes, horizon_s: float) -> float:
    """Late jobs where they begin first. Returns the seconds of work of those that begin after the horizon.

    Far more of them than lanes are not placed one by one.
    """
    room, overflow_s = LATE_LANE_JOBS * len(lanes.lanes), 0.0
    for ask in asks:
        for place in range(ask.late):
            lane = _soonest(ask, lanes) if room > 0 else None
            if lane is None:
                ask.backlog = ask.late - place
                overflow_s += ask.backlog * _service_s(ask, lanes)
                break
            room -= 1
            if lanes.start_s(lane, ask.need) > horizon_s:
                overflow_s += lanes.service_s(ask.need, lane.slots.host)
            _give(ask, lane, lanes)
    return overflow_s


def _soonest(ask: Ask, lanes: Lanes) -> Lane | None:
    """The lane on which one more job begins first, its load counted."""
    first = lanes.first(ask.need)
    warm = min(lanes.warm(ask.need), key=lambda one: one.free_s, default=None)
    if first is None or warm is None:
        return first or warm
    return warm if warm.free_s <= lanes.start_s(first, ask.need) else first


def _service_s(ask: Ask, lanes: Lanes) -> float:
    classes = {one.slots.host.gpu_class for one in lanes.lanes} or {""}
    return min(lanes.times.service(ask.need, one).mean_s for one in classes)


def oldest_late_s(asks: Iterable[Ask]) -> float:
    """The age of the oldest job that is late; infinitely young where none is."""
    return max((one.group.oldest_age_s for one in asks if one.late), default=-math.inf)

"""The queue: jobs that are alike wait together, in the order in which they are claimed."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from scaling.place import Candidate, Patience, warm
from scaling.simulate.trace import Arrival
from scaling.snapshot import AGES_MAX, JobGroup, Need, WorkerView

Waiter = tuple[float, float, int, Arrival]
"""By when it must start, when it came, its row; so sorted, the first is the next."""


@dataclass(slots=True)
class Group:
    waiters: list[Waiter] = field(default_factory=list)
    bounded: int = 0
    """How many of them must start by a moment; without any, the order is that of arrival."""
    _shown: tuple[float, ...] | None = None

    def add(self, waiter: Waiter) -> None:
        insort(self.waiters, waiter)
        self.bounded += waiter[0] < math.inf
        self._shown = None

    def first(self, now_s: float, patience: Patience | None, asker: WorkerView) -> int:
        """The place of the next: the first in time, unless none is or the very first may not be passed over. Those that
        are for machines that stay are left out where others are not.
        """
        if patience is None:
            return 0
        by_s, came_s, _, arrival = self.waiters[0]
        need, patience = arrival.need, patience.of(arrival.need)
        if (stay := patience.barred(need, asker)) and stay.bars(by_s - now_s):
            place = bisect_left(self.waiters, now_s + stay.most_s, key=itemgetter(0))
            return place if place < len(self.waiters) else 0
        is_warm, urgent_s = warm(need, asker.resident), patience.urgent_s(need)
        if not patience.passes_over(now_s - came_s, by_s - now_s, is_warm=is_warm, urgent_s=urgent_s):
            return 0
        since_s = now_s - patience.late_s(is_warm=is_warm)
        return next((place for place, one in enumerate(self.waiters) if one[1] >= since_s), 0)

    def take(self, place: int) -> Arrival:
        first = self.waiters.pop(place)
        self.bounded -= first[0] < math.inf
        self._shown = None
        return first[3]

    def arrived(self) -> tuple[float, ...]:
        """When those came whose ages are shown, oldest first."""
        if self._shown is None:
            came = [one[1] for one in self.waiters]
            self._shown = even_ranks(sorted(came) if self.bounded else came)
        return self._shown

    def slack_s(self, now_s: float) -> float:
        return self.waiters[0][0] - now_s


class Waiting:
    """Which jobs wait. A job that was begun before has met its start, and keeps its place."""

    def __init__(self) -> None:
        self._groups: dict[Need, Group] = {}
        self._begun: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self) -> Iterator[Need]:
        return iter(self._groups)

    def __len__(self) -> int:
        return sum(len(one.waiters) for one in self._groups.values())

    def count(self, need: Need) -> int:
        group = self._groups.get(need)
        return len(group.waiters) if group else 0

    def add(self, arrival: Arrival) -> None:
        by_s = arrival.complete_by_s
        if arrival.row not in self._begun:
            by_s = min(by_s, arrival.start_by_s)
        group = self._groups.setdefault(arrival.need, Group())
        group.add((by_s, arrival.t_s, arrival.row, arrival))

    def take(self, need: Need, now_s: float, patience: Patience | None, asker: WorkerView) -> Arrival:
        """The next job of this need for this machine. Raises KeyError where none waits."""
        group = self._groups[need]
        arrival = group.take(group.first(now_s, patience, asker))
        self._begun.add(arrival.row)
        if not group.waiters:
            del self._groups[need]
        return arrival

    def heads(self, now_s: float, patience: Patience | None, asker: WorkerView) -> list[Candidate]:
        """The next job of each group for this machine. With a patience, the late come after others."""
        found = []
        for need, group in self._groups.items():
            by_s, came_s, _, _ = group.waiters[group.first(now_s, patience, asker)]
            found.append(Candidate(need, now_s - came_s, by_s - now_s, len(group.waiters)))
        return found

    def groups(self, now_s: float) -> tuple[JobGroup, ...]:
        return tuple(_shown(need, group, now_s) for need, group in self._groups.items())


def _shown(need: Need, group: Group, now_s: float) -> JobGroup:
    ages_s = tuple([now_s - came for came in group.arrived()])
    slack_s = group.slack_s(now_s) if group.bounded else None
    return JobGroup(need, len(group.waiters), ages_s[0], slack_s, ages_s)


def even_ranks(values: Sequence[float]) -> tuple[float, ...]:
    """All of them, or of more than `AGES_MAX` those at even ranks, the first and the last among them."""
    if len(values) <= AGES_MAX:
        return tuple(values)
    last = len(values) - 1
    return tuple([values[place * last // (AGES_MAX - 1)] for place in range(AGES_MAX)])

"""What the policy learns as it goes: what a late job is worth, and how long machines of each rank were not needed."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from scaling.place import Host
from scaling.snapshot import Memory
from scaling.whatif.boots import STEP_S_MIN
from scaling.whatif.forecast import SLOTS, Day, Score, Slot

LATE_SHARE = 0.04
"""So many jobs may be late, for a p95 that is met with something to spare."""
HARD_SHARE = 0.2
"""Where no boot is in time for a job that comes, so much fewer are let be late: what goes wrong is mended slowly."""
PRICE_S = 700.0
PRICE_STARTS = 20.0
"""The first price where no boot is in time, in starts."""
PRICE_S_MIN = 20.0
PRICE_S_MAX = 100_000.0
STEP = 0.02
"""By how much the logarithm of the price rises for a late job."""
PAUSES_MAX = 64
PAUSES_MIN = 3
"""With fewer, nothing is known."""
PAUSE_S_MIN = 0.5
UNKNOWN_S = 1200.0
UNKNOWN_SHARE = 0.2
"""Where no pauses are known, a machine stays for so long, or for this share of what it costs to need it again."""
Kind = tuple[str, str, float]
"""Provider, GPU class, USD an hour: machines that are alike."""


def kind_of(host: Host) -> Kind:
    return (host.provider, host.gpu_class, host.usd_per_hour)


@dataclass(frozen=True, slots=True)
class Rank:
    """The n-th machine of a kind. `since_s`: not needed since then (on the steady clock); None: it is needed.

    `pauses_s` are the last times for which it was not needed, oldest first.
    """

    since_s: float | None
    pauses_s: tuple[float, ...] = ()

    def needed(self, now_s: float) -> "Rank":
        if self.since_s is None:
            return self
        pause_s = now_s - self.since_s
        more = (round(pause_s, 1),) if pause_s >= PAUSE_S_MIN else ()
        return Rank(None, (*self.pauses_s, *more)[-PAUSES_MAX:])

    def spare(self, now_s: float) -> "Rank":
        return Rank(now_s, self.pauses_s) if self.since_s is None else self

    def age_s(self, now_s: float) -> float:
        return 0.0 if self.since_s is None else now_s - self.since_s


@dataclass(frozen=True, slots=True)
class Trend:
    """How many machines of a kind were needed lately: now (`last`), and on an average that forgets (`slow`)."""

    slow: float
    last: int
    at_s: float

    def moved(self, needed: int, now_s: float, span_s: float) -> "Trend":
        weight = 1.0 - math.exp(-max(0.0, now_s - self.at_s) / span_s)
        return Trend(self.slow + weight * (self.last - self.slow), needed, now_s)

    def growth(self, span_s: float) -> float:
        """Machines a second, while more than one more are needed than before; else 0."""
        return max(0.0, self.last - self.slow - 1.0) / span_s


def keeping_s(pauses_s: Sequence[float], age_s: float, again_s: float, step_s: float) -> float:
    """The expected cost, in seconds of its machine, of the best way to keep one that was not needed for `age_s`.

    To end it and to need it again costs `again_s`. If it pays to end it at once, the result is at least that. The
    pauses that were longer than this one so far say how long it may last yet; that it lasts for good counts as one
    more. It is paid for in steps. (Ski rental with known pauses; see docs/policies.md.)
    """
    if len(pauses_s) < PAUSES_MIN:
        return 0.0 if age_s < min(again_s, max(UNKNOWN_S, UNKNOWN_SHARE * again_s)) else math.inf
    ordered = sorted(pauses_s)
    rests = [one - age_s for one in ordered[bisect_right(ordered, age_s) :]]
    if step_s > STEP_S_MIN:
        rests = [math.ceil(one / step_s) * step_s for one in rests]
    whole, best_s = len(rests) + 1, math.inf
    for ended, (rest_s, spent_s) in enumerate(zip(rests, accumulate(rests), strict=True), start=1):
        best_s = min(best_s, spent_s + (whole - ended) * (rest_s + again_s))
    return best_s / whole


@dataclass(frozen=True, slots=True)
class Learned:
    """`log_price` is the logarithm of what a late job costs, in seconds of a machine.

    `unused` says since when a machine on order has had nothing to do.
    """

    log_price: float = math.log(PRICE_S)
    ranks: Mapping[Kind, tuple[Rank, ...]] = field(default_factory=dict)
    unused: Mapping[str, float] = field(default_factory=dict)
    trends: Mapping[Kind, Trend] = field(default_factory=dict)
    days: Mapping[Kind, Day] = field(default_factory=dict)

    @property
    def price_s(self) -> float:
        return math.exp(self.log_price)

    def steered(self, waits_s: Iterable[float], target_s: float, late_share: float) -> float:
        """The price after these waits: it rises with each late job, and falls with all others, until few are late."""
        log_price = self.log_price
        for wait_s in waits_s:
            log_price += STEP * ((wait_s > target_s) - late_share)
        return min(math.log(PRICE_S_MAX), max(math.log(PRICE_S_MIN), log_price))

    def rank(self, kind: Kind, place: int) -> Rank | None:
        """That of the n-th machine, from 1; None where so many were never needed."""
        ranks = self.ranks.get(kind, ())
        return ranks[place - 1] if place <= len(ranks) else None


def ranked(ranks: Sequence[Rank], needed: int, now_s: float) -> tuple[Rank, ...]:
    """The ranks when `needed` machines are needed now."""
    known = (*ranks, *[Rank(None)] * (needed - len(ranks)))
    return tuple(
        [one.needed(now_s) if place < needed else one.spare(now_s) for place, one in enumerate(known)]
    )


def first_price_s(start_s: float, hard: float) -> float:
    """Before anything is learned. `hard` is the share of boots that are too long for a job that comes."""
    return max(PRICE_S, PRICE_STARTS * start_s * hard**4)


def late_share(hard: float) -> float:
    """How many jobs may be late."""
    return LATE_SHARE * (1.0 - HARD_SHARE * hard**4)


class Written(dict[str, object]):
    """What is remembered, as JSON; `learned` is what it was written from, for whoever has it at hand yet."""

    def __init__(self, learned: Learned, values: Memory) -> None:
        super().__init__(values)
        self.learned = learned


def recall(memory: Memory, price_s: float = PRICE_S) -> Learned:
    """What was written; nothing but a first price is known where that is not what it is."""
    if isinstance(memory, Written):
        return memory.learned
    try:
        learned = Learned(
            _number(memory["log_price"]),
            {_kind(row): tuple([_rank(*one) for one in row[3]]) for row in _rows(memory["ranks"])},
            {str(name): _number(since_s) for name, since_s in dict(memory["unused"]).items()},  # type: ignore[call-overload]
            {_kind(row): _trend(*row[3]) for row in _rows(memory["trends"])},
            {_kind(row): _day(*row[3]) for row in _rows(memory.get("days", ()))},
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return Learned(math.log(price_s))
    return learned


def _rows(value: object) -> Sequence[Sequence[Any]]:
    if not isinstance(value, list | tuple):
        raise TypeError("no list")
    return value


def _rank(since_s: object, pauses_s: Sequence[float]) -> Rank:
    """There are thousands of pauses at every look, and their sum says whether all are numbers."""
    if not math.isfinite(sum(pauses_s)):
        raise ValueError("no number")
    return Rank(None if since_s is None else _number(since_s), tuple(pauses_s))


def _trend(slow: object, last: object, at_s: object) -> Trend:
    return Trend(_number(slow), int(_number(last)), _number(at_s))


def _day(levels: Sequence[float], slot: Sequence[object], score: Sequence[object]) -> Day:
    if len(levels) != SLOTS or not math.isfinite(sum(levels)):
        raise ValueError("no day")
    at_s, last, *sums, before = slot
    seen_s, sum_s = map(_number, sums)
    slots, *misses = score
    now = Slot(_number(at_s), int(_number(last)), seen_s, sum_s, _number(before))
    return Day(now, tuple(levels), Score(int(_number(slots)), *map(_number, misses)))


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _kind(row: Sequence[object]) -> Kind:
    provider, gpu_class, usd_per_hour = row[:3]
    return (str(provider), str(gpu_class), _number(usd_per_hour))


def written(learned: Learned) -> Memory:
    return Written(
        learned,
        {
            "log_price": learned.log_price,
            "ranks": [
                [*kind, [[one.since_s, one.pauses_s] for one in ranks]]
                for kind, ranks in learned.ranks.items()
            ],
            "unused": dict(learned.unused),
            "trends": [[*kind, [one.slow, one.last, one.at_s]] for kind, one in learned.trends.items()],
            "days": [[*kind, _day_written(one)] for kind, one in learned.days.items()],
        },
    )


def _day_written(day: Day) -> Sequence[object]:
    slot, score = day.slot, day.score
    return (
        day.levels,
        (slot.at_s, slot.last, slot.seen_s, slot.sum_s, slot.before),
        (score.slots, score.misses, score.same, score.flat),
    )

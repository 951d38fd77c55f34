"""What a rule remembers from look to look, read from JSON that may be anybody's: what is odd counts as nothing."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from scaling.snapshot import Memory

Points = list[tuple[float, float]]
"""(seconds, value) in order of time."""
STEPS_MAX = 30
"""A window is remembered in about so many steps."""
ROUNDING_S = 1e-3
"""A look that comes this much before a tick is the look for that tick."""


def number(memory: Memory, key: str, otherwise: float) -> float:
    value = memory.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return otherwise
    return float(value)


def count(memory: Memory, key: str) -> int:
    return max(0, int(number(memory, key, 0)))


def points(memory: Memory, key: str, now_s: float) -> Points:
    """None at all, where one of them is odd or later than now."""
    found = memory.get(key)
    if not isinstance(found, list | tuple):
        return []
    read: Points = []
    before_s = -math.inf
    for one in found:
        if not (
            isinstance(one, list | tuple) and len(one) == 2 and _floats(one) and before_s <= one[0] <= now_s
        ):
            return []
        before_s = one[0]
        read.append((one[0], one[1]))
    return read


def _floats(pair: Sequence[object]) -> bool:
    return all(isinstance(one, int | float) and math.isfinite(one) for one in pair)


def due(memory: Memory, now_s: float, period_s: float) -> bool:
    """Whether a tick came since the look that `memory` is of, or comes now. Ticks are the multiples of the period, so
    that a rule polls in its own time and needs no memory while there is nothing to do.
    """
    tick_s = last_tick_s(now_s, period_s)
    before_s = number(memory, "tick_s", math.inf)
    if before_s > now_s + ROUNDING_S:
        return now_s - tick_s <= ROUNDING_S
    return tick_s > before_s + ROUNDING_S


def last_tick_s(now_s: float, period_s: float) -> float:
    return math.floor((now_s + ROUNDING_S) / period_s) * period_s


def next_tick_in_s(now_s: float, period_s: float) -> float:
    return last_tick_s(now_s, period_s) + period_s - now_s


def followed(trail: Points, now_s: float, level: float, window_s: float) -> Points:
    """A trail of (seconds, integral of the level until then), brought up to now at the level since the last point."""
    area = trail[-1][1] + level * (now_s - trail[-1][0]) if trail else 0.0
    return appended(trail, now_s, area, window_s)


def appended(trail: Points, now_s: float, value: float, window_s: float) -> Points:
    """With what the window needs no more left out: all but one of the points before it, and those too close."""
    kept = trail[max(0, bisect_right(trail, (now_s - window_s, math.inf)) - 1) :]
    if len(kept) > 1 and now_s - kept[-2][0] < window_s / STEPS_MAX:
        kept = kept[:-1]
    return [*kept, (now_s, value)]


def mean(trail: Points, window_s: float) -> float | None:
    """The mean level over the window that ends with the last point, or over what there is of it; None: nothing."""
    now_s, area = trail[-1]
    begin_s = max(trail[0][0], now_s - window_s)
    if begin_s >= now_s:
        return None
    after = bisect_right(trail, (begin_s, math.inf))
    (left_s, left), (right_s, right) = trail[after - 1], trail[after]
    begin = left + (right - left) * (begin_s - left_s) / (right_s - left_s)
    return (area - begin) / (now_s - begin_s)


def peaks(before: Points, now_s: float, value: float, window_s: float) -> Points:
    """What may still be the greatest of a window as time goes on: values that fall, each with its last time."""
    kept = [one for one in before if one[0] > now_s - window_s and one[1] > value]
    return [*kept[-4 * STEPS_MAX :], (now_s, value)]

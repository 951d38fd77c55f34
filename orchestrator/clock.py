"""The time: steady while we run, however the wall clock is stepped.

A stepped clock must not time out jobs or declare workers silent. So the time is the wall clock's at the start,
advanced by a clock that counts seconds only, and slewed slowly towards the wall clock where the two disagree.
"""

import time
from collections.abc import Callable
from typing import Protocol

SLEW = 0.05
"""Of each second that passes, so much at most goes into catching up."""


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...


def _elapsed() -> float:
    """Counts through suspends where the system can."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class SteadyClock:
    """Never goes back, and never leaps."""

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._now = wall()
        self._seen = elapsed()

    def now(self) -> float:
        seen = self._elapsed()
        passed_s = max(0.0, seen - self._seen)
        self._seen = seen
        self._now += passed_s
        off_s = self._wall() - self._now
        most_s = SLEW * passed_s
        self._now += min(most_s, max(-most_s, off_s))
        return self._now


class ManualClock:
    """Stands still until a test moves it."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

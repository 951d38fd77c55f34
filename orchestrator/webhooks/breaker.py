"""A circuit breaker: a host that gives no HTTP answer is left alone, longer each time, but for one probe at a time.

Closed, it lets everything through. After 8 sends in a row without any answer it opens. When its time is over it lets
one probe through: any answer, an error too, closes it, and none opens it for twice as long. The time is an argument.
"""

from dataclasses import dataclass

SILENT_MAX = 8
OPEN_S_MIN = 30.0
OPEN_S_MAX = 15 * 60.0


@dataclass(slots=True)
class Breaker:
    """One host's. `silent` counts sends in a row without an answer; `until` is when an open one lets a probe try."""

    silent: int = 0
    open_s: float = 0.0
    until: float | None = None

    def is_open(self, now: float) -> bool:
        return self.until is not None and now < self.until

    def sends_max(self, now: float, most: int) -> int:
        """How many sends may be on their way at once, of `most`."""
        if self.until is None:
            return most
        return 0 if now < self.until else 1

    def answered(self) -> None:
        self.silent, self.open_s, self.until = 0, 0.0, None

    def unanswered(self, now: float) -> None:
        """Sends that were on their way when it opened change nothing: only a probe makes the time longer."""
        self.silent += 1
        if self.silent >= SILENT_MAX and not self.is_open(now):
            self.open_s = min(OPEN_S_MAX, max(OPEN_S_MIN, 2 * self.open_s))
            self.until = now + self.open_s

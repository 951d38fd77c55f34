"""Guessing made slow: of passwords, by email and by address, and of keys, by address."""

from collections import OrderedDict
from dataclasses import dataclass, field

from orchestrator.access.rates import NAMES_MAX, Buckets
from orchestrator.clock import Clock

FAILURES_FREE = 5
WAIT_S_FIRST = 30.0
WAIT_S_MAX = 900.0
FORGOTTEN_AFTER_S = 86_400.0
GUESSES_PER_MINUTE = 20


@dataclass(slots=True)
class _Tries:
    count: int = 0
    until: float = 0.0
    at: float = 0.0


@dataclass(slots=True)
class Throttle:
    """Five tries of a name are free, then each is followed by a wait, doubling from 30 s to 15 minutes.

    A try counts as a failure from its begin on, so that many at once are not more than one after the other.
    """

    clock: Clock
    _tries: OrderedDict[str, _Tries] = field(default_factory=OrderedDict)

    def begin(self, *names: str) -> float:
        """Begins a try for all of the names. Returns 0, or the seconds to wait, and then nothing was counted."""
        now = self.clock.now()
        tries = [self._of(name, now) for name in names]
        wait_s = max(one.until - now for one in tries)
        if wait_s > 0:
            return wait_s
        for one in tries:
            one.count, one.at = one.count + 1, now
            if one.count >= FAILURES_FREE:
                one.until = now + min(WAIT_S_FIRST * 2.0 ** (one.count - FAILURES_FREE), WAIT_S_MAX)
        return 0.0

    def excuse(self, name: str) -> None:
        """That try was none. Those before it still count: one's own account must not pay for guesses at others."""
        tries = self._tries.get(name)
        if tries is not None and tries.count:
            tries.count, tries.until = tries.count - 1, 0.0

    def clear(self, name: str) -> None:
        self._tries.pop(name, None)

    def _of(self, name: str, now: float) -> _Tries:
        tries = self._tries.setdefault(name, _Tries())
        self._tries.move_to_end(name)
        while len(self._tries) > NAMES_MAX:
            self._tries.popitem(last=False)
        if now - tries.at > FORGOTTEN_AFTER_S:
            tries.count, tries.until = 0, 0.0
        return tries


class Guesses:
    """Wrong keys, 20 a minute from one address. A right key is never held up, but for one that could be guessed
    (chosen by somebody, not made by us) from an address that is guessing and has shown no right one yet.
    """

    def __init__(self, clock: Clock) -> None:
        self._wrong = Buckets(clock)
        self._good: OrderedDict[str, None] = OrderedDict()

    def wait_s(self, origin: str) -> float:
        """Before a chosen key from there is looked at."""
        if origin in self._good:
            return 0.0
        return self._wrong.wait_s(origin, GUESSES_PER_MINUTE / 60, GUESSES_PER_MINUTE)

    def wrong(self, origin: str) -> float:
        """Notes one. Returns 0, or how long that address should wait, past its bound."""
        return self._wrong.take(origin, GUESSES_PER_MINUTE / 60, GUESSES_PER_MINUTE)

    def right(self, origin: str) -> None:
        self._good[origin] = None
        self._good.move_to_end(origin)
        while len(self._good) > NAMES_MAX:
            self._good.popitem(last=False)

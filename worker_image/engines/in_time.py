"""A bound on the time of code that cannot be asked to stop, such as a regex that an operator wrote."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class TooLong(Exception):
    """The time is up."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """On a process's main thread only, which is where backends run; it must not be nested.

    Raises:
        TooLong: what is within did not end in time.
    """

    def ring(_: int, __: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""How long jobs waited until they began: noted as they are claimed, and taken by the next look at the world."""

from collections import deque

from orchestrator.store.rows import Claimed

WAITS_MAX = 10_000
"""Between two looks; of more, the latest."""


class Waits:
    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=WAITS_MAX)
        self._noted: dict[int, None] = {}

    def note(self, claimed: Claimed) -> None:
        """A job's first attempt counts, and once: a claim whose reply was lost is repeated."""
        attempt, job = claimed.attempt, claimed.job
        if attempt.number > 1 or attempt.id in self._noted:
            return
        self._noted[attempt.id] = None
        if len(self._noted) > WAITS_MAX:
            del self._noted[next(iter(self._noted))]
        self._waits.append(max(0.0, attempt.started_at - job.created_at))

    def take(self) -> tuple[float, ...]:
        """Seconds, of those that began since this was asked last; oldest first."""
        taken = tuple(self._waits)
        self._waits.clear()
        return taken

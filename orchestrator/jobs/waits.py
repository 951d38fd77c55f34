"""How long jobs waited until their service began: noted as they are claimed, and taken by the next look.

A claim comes before the load of a model, and the service after it. How long this load takes shows only at the end, so
that what such loads are expected to take is added where the worker has not the model.
"""

from collections import deque

from orchestrator.store.rows import Claimed
from scaling.place import Patience

WAITS_MAX = 10_000
"""Between two looks; of more, the latest."""


class Waits:
    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=WAITS_MAX)
        self._noted: dict[int, None] = {}

    def note(self, claimed: Claimed, load_s: float = 0.0, patience: Patience | None = None) -> None:
        """A job's first attempt counts, and once: a claim whose reply was lost is repeated. It loads for `load_s`.

        Low priority asks for no machine, so that its waits do not count.
        """
        attempt, job = claimed.attempt, claimed.job
        if attempt.number > 1 or attempt.id in self._noted or job.need.low_priority:
            return
        self._noted[attempt.id] = None
        if len(self._noted) > WAITS_MAX:
            del self._noted[next(iter(self._noted))]
        wait_s = max(0.0, attempt.started_at - job.created_at) + load_s
        self._waits.append(patience.measured_s(job.need, wait_s) if patience else wait_s)

    def take(self) -> tuple[float, ...]:
        """Seconds, of those that began since this was asked last; oldest first."""
        taken = tuple(self._waits)
        self._waits.clear()
        return taken

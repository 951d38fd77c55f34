"""What is left of the limits on running jobs, while a walk gives jobs their slots."""

from collections import Counter

from scaling.limits import Bound, Kind, RunningCounts, RunningLimits, bounds
from scaling.plan import Blocked
from scaling.snapshot import Need

WHOSE = {
    "owner": ("this user's jobs", "running_max of the user's subscription"),
    "project": ("this project's jobs", "running_max of the project"),
    "queue": ("the jobs of the queue {name!r}", "running_max of the queue at /v1/queues"),
}
"""What a bound is for, and what to raise."""


class Rooms:
    """A job that the walk covers runs soon, and so takes its place; one that only waits takes none."""

    def __init__(self, limits: RunningLimits, running: RunningCounts) -> None:
        self._limits = limits
        self._running = running
        self._bound = not limits.bound_nothing
        self._taken: Counter[tuple[Kind, str]] = Counter()

    def admitted(self, need: Need, count: int) -> int:
        """How many of `count` jobs may still begin."""
        return min((count, *map(self._left, self._bounds(need)))) if self._bound else count

    def take(self, need: Need, count: int) -> None:
        if not self._bound:
            return
        for one in self._bounds(need):
            self._taken[one.kind, one.name] += count

    def held(self, need: Need, count: int) -> Blocked:
        """Why jobs may not begin, by the bound that leaves least."""
        tight = min(self._bounds(need), key=self._left)
        reason = self._limits.reasons.get((tight.kind, tight.name)) or _reason(tight)
        return Blocked("quota_running", reason, need, count)

    def _bounds(self, need: Need) -> tuple[Bound, ...]:
        return tuple(bounds(need, self._limits, self._running))

    def _left(self, bound: Bound) -> int:
        return max(0, bound.left - self._taken[bound.kind, bound.name])


def _reason(bound: Bound) -> str:
    jobs, raised = (words.format(name=bound.name) for words in WHOSE[bound.kind])
    if not bound.most:
        return f"None of {jobs} may run now; raise {raised}."
    held = f"At most {bound.most} of {jobs} run at once, and {bound.running} run now"
    return f"{held}; it starts when others have ended. Raise {raised} for more at once."

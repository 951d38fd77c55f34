"""What the last plan holds for workers that have its model, and what it calls late, while it is to be believed."""

import math
from collections.abc import Iterable, Sequence

from orchestrator.clock import Clock
from scaling.place import NO_HOLDS, Holds, Patience, warm
from scaling.plan import Hold
from scaling.snapshot import Need

HOLDS_S_MAX = 15.0
"""Three periods of plans. Later none seem to be made, and a job must not wait for a machine that may be gone."""


class HoldBook:
    """The mappings that it hands out are never changed: claims read them on another thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holds: Holds = NO_HOLDS
        self._patience: Patience | None = None
        self._until = -math.inf
        self.lasts_s = HOLDS_S_MAX

    def put(self, holds: Iterable[Hold], patience: Patience | None = None) -> None:
        """Those of a new plan, instead of all before."""
        self._patience = patience
        self._holds = {one.need: one.count for one in holds if one.count > 0}
        self._until = self._clock.now() + self.lasts_s

    def needs(self) -> frozenset[Need]:
        """Of which jobs are or were held by the last plan, however old it is."""
        return frozenset(self._holds)

    def current(self) -> Holds:
        return self._holds if self._holds and self._clock.now() < self._until else NO_HOLDS

    def patience(self) -> Patience | None:
        """When a job is late; None: no plan says so, or none that still counts."""
        return self._patience if self._clock.now() < self._until else None

    def took(self, need: Need, resident: Sequence[str]) -> None:
        """A worker with these models has taken one. If it was one of the held, fewer are left for others like it."""
        if self._holds and need in self._holds and warm(need, resident):
            self._holds = {**self._holds, need: max(0, self._holds[need] - 1)}

"""How long machines have been downloading the image: one that takes too long is worth exchanging."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from provider_clients.salad.replies import Replica

SLOW_S_PER_GB = 120.0
"""A machine that needs longer has a bad line (operators' rule)."""


@dataclass(slots=True)
class Downloads:
    """By our own clock, since Salad does not say when a download began."""

    image_gb: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, tuple[tuple[str, str], float]] = field(default_factory=dict)
    """By group: which instance on which machine, and when it was first seen downloading."""

    def trouble(self, group: str, replica: Replica | None) -> str | None:
        if replica is None or replica.state != "downloading":
            self.forget(group)
            return None
        where = (replica.id, replica.machine_id)
        known, since = self._since.get(group, (where, self.clock()))
        if known != where:
            since = self.clock()
        self._since[group] = where, since
        took_s = self.clock() - since
        if took_s <= SLOW_S_PER_GB * self.image_gb:
            return None
        return f"it has been downloading {self.image_gb:g} GB for {took_s:.0f} s"

    def forget(self, group: str) -> None:
        self._since.pop(group, None)

"""What is kept to explain plans and to try others: what was seen and decided, and how finished jobs went."""

from dataclasses import dataclass
from typing import Any

from scaling.snapshot import Need

PLANS_MAX = 2_000
PLANS_KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What a plan saw and decided, as JSON. Ids rise with time."""

    id: int
    at: float
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that succeeded: when it came, by when it had to, and what its last attempt took. Seconds."""

    need: Need
    created_at: float
    complete_by: float
    start_by: float | None
    gpu_class: str
    service_s: float
    """Without the load of its model."""
    load_s: float | None
    """None: it loaded none, or its worker does not tell."""

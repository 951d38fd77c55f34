"""What a decision is: complete actions with their reasons, and what could not be done and why."""

from dataclasses import dataclass, field

from scaling.place import Patience
from scaling.snapshot import Memory, Need, Offer


@dataclass(frozen=True, slots=True)
class Launch:
    """Write an intent; it is bought only after `delay_s`, and only if it is still needed then."""

    provider: str
    gpu_class: str
    usd_per_hour: float
    delay_s: float
    reason: str

    @classmethod
    def of(cls, offer: Offer, delay_s: float, reason: str) -> "Launch":
        return cls(offer.provider, offer.gpu_class, offer.usd_per_hour, delay_s, reason)


@dataclass(frozen=True, slots=True)
class Buy:
    """The second look was taken: the intent is still needed."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The intent is not needed any more, and has cost nothing."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    worker_id: str
    reason: str


Action = Launch | Buy | Withdraw | Drain | Stop


@dataclass(frozen=True, slots=True)
class Blocked:
    """Demand that no action covers. `need` is None where the block is not one group's alone."""

    code: str
    reason: str
    need: Need | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """The first `count` jobs of a need stay for workers that have their model, and are in time there."""

    need: Need
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`look_again_s`: it may be another plan by then, even if nothing happens. `memory` goes into the next snapshot.

    `patience` says when a job is late: claims go by it.
    """

    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    holds: tuple[Hold, ...] = ()
    look_again_s: float | None = None
    patience: Patience | None = None
    memory: Memory = field(default_factory=dict)

"""The contract of a provider client. Every implementation, the fake included, passes one suite of tests."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from scaling.snapshot import Offer


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to lease, and what its agent must know to report for duty.

    Where a class is sold in tiers, the price that was planned with tells them apart.
    """

    worker_id: str
    gpu_class: str
    orchestrator_url: str
    worker_key: str
    environment: dict[str, str] = field(default_factory=dict)
    usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Instance:
    """The provider's machine, as the provider tells of it. Times are epoch seconds, by its own clock.

    `tag` is empty where the provider has no tags. `running` is False for one that will never serve any more and
    may still be billed. `lease_ends_at` is the hard end of a lease. `address` is where a hosted agent reaches it, a
    URL or a name. `host_id` is the physical machine under it. `trouble` says why this machine should be
    exchanged for another; None while it does well.
    """

    id: str
    tag: str
    gpu_class: str
    running: bool = True
    created_at: float | None = None
    lease_ends_at: float | None = None
    address: str | None = None
    host_id: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the provider's own records say it bills for an ended instance. Epoch seconds and seconds."""

    started_at: float
    ended_at: float
    billed_s: float


@dataclass(frozen=True, slots=True)
class Account:
    """What a read-only look at the account found: the answer of `gpulease providers check`.

    `balance` is in the provider's own units. `notes` are sentences for ops.
    """

    notes: tuple[str, ...] = ()
    balance: float | None = None
    workers_max: int | None = None
    workers_used: int | None = None


class Provider(Protocol):
    """Promises that the orchestrator builds on.

    * `create` is called at most once per tag, and is never repeated: any doubt about its outcome is
      `OutcomeUnknown`. A client that can see that the tag exists already returns that instance.
    * `list` returns everything of this deployment (of the whole account, where there are no tags), or raises.
      An error is never an empty list.
    * `delete` is repeated until it, or `get`, says `NotFound`; repeating it is harmless. As soon as the provider's
      records say what it billed, a call returns the receipt.
    * `check` only reads.
    * All raise only `ProviderError`s, and all return or raise within their own timeouts.
    """

    name: str
    stops_with_us: bool
    """Whether its instances make no sense without this orchestrator process (`local`)."""
    tagged: bool
    """Whether an instance carries the tag it was created with."""
    hosted: bool
    """Whether its machines cannot run our agent, which therefore runs beside the orchestrator."""
    list_lag_s: float
    """How long after a creation was begun `list` may not show its instance yet."""

    async def offers(self) -> tuple[Offer, ...]: ...

    async def create(self, spec: LaunchSpec, tag: str) -> Instance: ...

    async def list(self) -> tuple[Instance, ...]: ...

    async def get(self, instance_id: str) -> Instance: ...

    async def delete(self, instance_id: str) -> Receipt | None: ...

    async def check(self) -> Account: ...

    async def aclose(self) -> None: ...


# What some providers can do beside. `isinstance` asks.


@runtime_checkable
class Probes(Protocol):
    async def probe(self, instance: Instance) -> bool:
        """Whether the machine itself answers, as far as its provider says that it should."""
        ...


@runtime_checkable
class Protects(Protocol):
    async def protect(self, instance_id: str, *, busy: bool) -> None:
        """Makes a busy instance the last that the provider would take away."""
        ...


@runtime_checkable
class Exchanges(Protocol):
    async def exchange(self, instance_id: str, reason: str) -> None:
        """Moves the instance to another physical machine; what ran on it is lost."""
        ...


@runtime_checkable
class Extends(Protocol):
    async def extend(self, instance_id: str, seconds: float) -> Instance:
        """Sets the hard end of its lease so far into the future."""
        ...

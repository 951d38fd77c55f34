"""The contract of a provider client. Every implementation, the fake included, passes one suite of tests."""

from dataclasses import dataclass, field
from typing import Protocol

from scaling.snapshot import Offer


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to lease, and what its agent must know to report for duty."""

    worker_id: str
    gpu_class: str
    orchestrator_url: str
    worker_key: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instance:
    """The provider's machine. `tag` is empty where it is a stranger's or the provider has no tags.

    `lease_left_s` is what is left of a lease with a hard end.
    """

    id: str
    tag: str
    gpu_class: str
    running: bool = True
    lease_left_s: float | None = None


class Provider(Protocol):
    """Promises that the orchestrator builds on.

    * `create` is called at most once per tag, and is never repeated: any doubt about its outcome is
      `OutcomeUnknown`. A client that can see that the tag exists already returns that instance.
    * `list` returns everything of this deployment, or raises. An error is never an empty list.
    * `delete` is repeated until it, or `get`, says `NotFound`; repeating it is harmless.
    * All raise only `ProviderError`s, and all return or raise within their own timeouts.
    """

    name: str
    stops_with_us: bool
    """Whether its instances make no sense without this orchestrator process (`local`)."""

    async def offers(self) -> tuple[Offer, ...]: ...

    async def create(self, spec: LaunchSpec, tag: str) -> Instance: ...

    async def list(self) -> tuple[Instance, ...]: ...

    async def get(self, instance_id: str) -> Instance: ...

    async def delete(self, instance_id: str) -> None: ...

    async def aclose(self) -> None: ...

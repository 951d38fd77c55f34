"""A cloud in memory, with fault knobs: it bills, boots, loses replies and lies as real ones do."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError, RateLimited
from scaling.snapshot import Offer

Verb = Literal["offers", "create", "list", "get", "delete"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What one coming call meets. `after` means that it takes effect, and only its reply is lost."""

    verb: Verb
    error: ProviderError
    after: bool = False

    @classmethod
    def lost_reply(cls) -> "Fault":
        return cls("create", OutcomeUnknown("the reply was lost"), after=True)

    @classmethod
    def lost_request(cls) -> "Fault":
        return cls("create", OutcomeUnknown("the request was lost"))

    @classmethod
    def no_capacity(cls) -> "Fault":
        return cls("create", NoCapacity("sold out"))

    @classmethod
    def rate_limited(cls, retry_after_s: float = 30.0) -> "Fault":
        return cls("create", RateLimited("slow down", retry_after_s))


@dataclass(slots=True)
class Machine:
    """One rented machine; `ended_at` None means that it is billed."""

    instance: Instance
    spec: LaunchSpec
    usd_per_hour: float
    started_at: float
    ended_at: float | None = None


@dataclass(slots=True)
class FakeCloud:
    """`on_boot` is called with the spec of each machine when it has booted; `list_lag_s` is how long
    the list does not have a new machine yet. `faults` are met in their order, each by the next call of its verb.
    """

    name: str = "fake"
    stops_with_us: bool = False
    tagged: bool = True
    hosted: bool = False
    offered: tuple[Offer, ...] = ()
    boot_s: float = 0.0
    list_lag_s: float = 0.0
    on_boot: Callable[[LaunchSpec], None] = lambda _: None
    clock: Callable[[], float] = time.time
    faults: deque[Fault] = field(default_factory=deque)
    machines: dict[str, Machine] = field(default_factory=dict)
    calls: list[Verb] = field(default_factory=list)

    async def offers(self) -> tuple[Offer, ...]:
        self._meet("offers")
        return self.offered

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        fault = self._meet("create")
        if any(one.instance.tag == tag for one in self.machines.values()):
            raise AssertionError(f"create was called twice for {tag}")
        instance = Instance(id=f"i-{len(self.machines):06d}", tag=tag, gpu_class=spec.gpu_class)
        price = next((one.usd_per_hour for one in self.offered if one.gpu_class == spec.gpu_class), 0.0)
        self.machines[instance.id] = Machine(instance, spec, price, self.clock())
        asyncio.get_running_loop().call_later(self.boot_s, self._boot, instance.id)
        if fault is not None:
            raise fault.error
        return instance

    async def list(self) -> tuple[Instance, ...]:
        self._meet("list")
        shown_before = self.clock() - self.list_lag_s
        return tuple(one.instance for one in self.live() if one.started_at <= shown_before)

    async def get(self, instance_id: str) -> Instance:
        self._meet("get")
        machine = self.machines.get(instance_id)
        if machine is None or machine.ended_at is not None:
            raise NotFound(instance_id)
        return machine.instance

    async def delete(self, instance_id: str) -> Receipt | None:
        fault = self._meet("delete")
        machine = self.machines.get(instance_id)
        if machine is None or machine.ended_at is not None:
            raise NotFound(instance_id)
        machine.ended_at = self.clock()
        if fault is not None:
            raise fault.error
        return Receipt(machine.started_at, machine.ended_at, machine.ended_at - machine.started_at)

    async def check(self) -> Account:
        self._meet("list")
        return Account((f"{len(self.live())} machines",))

    async def aclose(self) -> None:
        return None

    def live(self) -> tuple[Machine, ...]:
        """What is billed now."""
        return tuple(one for one in self.machines.values() if one.ended_at is None)

    def lose(self, instance_id: str) -> None:
        """The machine dies by itself, as rented ones do."""
        self.machines[instance_id].ended_at = self.clock()

    def billed_usd(self) -> float:
        """What it all cost until now."""
        now = self.clock()
        return sum(
            ((one.ended_at if one.ended_at is not None else now) - one.started_at) * one.usd_per_hour / 3600
            for one in self.machines.values()
        )

    def _boot(self, instance_id: str) -> None:
        machine = self.machines[instance_id]
        if machine.ended_at is None:
            self.on_boot(machine.spec)

    def _meet(self, verb: Verb) -> Fault | None:
        """Raises the next fault for this verb, or returns it if it strikes only afterwards."""
        self.calls.append(verb)
        fault = next((one for one in self.faults if one.verb == verb), None)
        if fault is None:
            return None
        self.faults.remove(fault)
        if not fault.after:
            raise fault.error
        return fault

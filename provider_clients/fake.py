"""A cloud in memory, with fault knobs: it bills, boots, loses replies and lies as real ones do."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError, RateLimited
from scaling.snapshot import Offer

Verb = Literal["offers", "create", "list", "get", "delete", "check", "extend", "protect", "exchange", "probe"]
Act = Callable[[], None]


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
    """One rented machine; `ended_at` None means that it is still there. `boots` counts the starts it was given."""

    instance: Instance
    spec: LaunchSpec
    tag: str
    offer: Offer
    started_at: float
    ended_at: float | None = None
    booted_at: float | None = None
    boots: int = 0
    busy: bool = False
    unwell: bool = False

    def receipt(self, now: float) -> Receipt:
        """What is billed for it until now, or until its end, by what its offer says."""
        end = self.ended_at if self.ended_at is not None else now
        start = self.started_at if self.offer.boot_billed else self.booted_at
        if start is None:
            return Receipt(end, end, 0.0)
        paid_s = max(end - start, self.offer.min_billed_s)
        pieces = math.ceil(paid_s / self.offer.granularity_s - 1e-9)
        return Receipt(start, end, pieces * self.offer.granularity_s)

    def billed_usd(self, now: float) -> float:
        return self.receipt(now).billed_s * self.offer.usd_per_hour / 3600


def _on_the_loop(delay_s: float, act: Act) -> None:
    asyncio.get_running_loop().call_later(delay_s, act)


@dataclass(slots=True)
class FakeCloud:
    """`on_boot` is called with the spec of each machine when it has booted, `on_end` when it ends, whoever ended it.

    `list_lag_s` is how long the list does not have a new machine yet. Without `tagged` it shows no tags. After
    `lease_s` a machine is gone. `hosts` are the physical machines, drawn in turn. `faults` are met in their order,
    each by the next call of its verb. `later` runs something after some seconds of `clock`.
    """

    name: str = "fake"
    stops_with_us: bool = False
    tagged: bool = True
    hosted: bool = False
    offered: tuple[Offer, ...] = ()
    boot_s: float = 0.0
    list_lag_s: float = 0.0
    lease_s: float | None = None
    hosts: tuple[str, ...] = ()
    on_boot: Callable[[LaunchSpec], None] = lambda _: None
    on_end: Callable[[LaunchSpec], None] = lambda _: None
    clock: Callable[[], float] = time.time
    later: Callable[[float, Act], None] = _on_the_loop
    faults: deque[Fault] = field(default_factory=deque)
    machines: dict[str, Machine] = field(default_factory=dict)
    calls: list[Verb] = field(default_factory=list)
    _hosts_drawn: int = 0

    async def offers(self) -> tuple[Offer, ...]:
        self._meet("offers")
        return self.offered

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        fault = self._meet("create")
        if any(one.tag == tag for one in self.machines.values()):
            raise AssertionError(f"create was called twice for {tag}")
        machine = self._made(spec, tag)
        self.machines[machine.instance.id] = machine
        self._start(machine)
        if fault is not None:
            raise fault.error
        return machine.instance

    async def list(self) -> tuple[Instance, ...]:
        self._meet("list")
        shown_before = self.clock() - self.list_lag_s
        return tuple(one.instance for one in self.live() if one.started_at <= shown_before)

    async def get(self, instance_id: str) -> Instance:
        self._meet("get")
        return self._found(instance_id).instance

    async def delete(self, instance_id: str) -> Receipt | None:
        fault = self._meet("delete")
        machine = self._found(instance_id)
        self._end(machine, self.clock())
        if fault is not None:
            raise fault.error
        return machine.receipt(self.clock())

    async def check(self) -> Account:
        self._meet("check")
        return Account((f"{len(self.live())} machines",), workers_used=len(self.live()))

    async def aclose(self) -> None:
        return None

    async def probe(self, instance: Instance) -> bool:
        self._meet("probe")
        machine = next((one for one in self.live() if one.instance.id == instance.id), None)
        return machine is not None and machine.booted_at is not None and not machine.unwell

    async def protect(self, instance_id: str, *, busy: bool) -> None:
        self._meet("protect")
        self._found(instance_id).busy = busy

    async def exchange(self, instance_id: str, reason: str) -> None:  # noqa: ARG002
        fault = self._meet("exchange")
        machine = self._found(instance_id)
        self.on_end(machine.spec)
        machine.instance = replace(machine.instance, host_id=self._host(), trouble=None)
        machine.booted_at, machine.unwell = None, False
        self._start(machine)
        if fault is not None:
            raise fault.error

    async def extend(self, instance_id: str, seconds: float) -> Instance:
        self._meet("extend")
        machine = self._found(instance_id)
        machine.instance = replace(machine.instance, lease_ends_at=self.clock() + seconds)
        self.later(seconds, self._expire)
        return machine.instance

    def live(self) -> tuple[Machine, ...]:
        """What is there now, and billed."""
        self._expire()
        return tuple(one for one in self.machines.values() if one.ended_at is None)

    def lose(self, instance_id: str) -> None:
        """The machine dies by itself, as rented ones do."""
        self._end(self.machines[instance_id], self.clock())

    def trouble(self, instance_id: str, why: str) -> None:
        """From now on the provider says that this machine should be exchanged."""
        machine = self.machines[instance_id]
        machine.instance = replace(machine.instance, trouble=why)

    def billed_usd(self) -> float:
        """What it all cost until now."""
        self._expire()
        return sum(one.billed_usd(self.clock()) for one in self.machines.values())

    def _made(self, spec: LaunchSpec, tag: str) -> Machine:
        now = self.clock()
        nothing = Offer(self.name, spec.gpu_class, 0.0, ())
        instance = Instance(
            id=f"i-{len(self.machines):06d}",
            tag=tag if self.tagged else "",
            gpu_class=spec.gpu_class,
            created_at=now,
            lease_ends_at=None if self.lease_s is None else now + self.lease_s,
            host_id=self._host(),
        )
        same = (one for one in self.offered if one.gpu_class == spec.gpu_class)
        offer = min(same, key=lambda one: abs(one.usd_per_hour - spec.usd_per_hour), default=nothing)
        if self.lease_s is not None:
            self.later(self.lease_s, self._expire)
        return Machine(instance, spec, tag, offer, now)

    def _host(self) -> str | None:
        if not self.hosts:
            return None
        self._hosts_drawn += 1
        return self.hosts[(self._hosts_drawn - 1) % len(self.hosts)]

    def _start(self, machine: Machine) -> None:
        machine.boots += 1
        boots = machine.boots
        self.later(self.boot_s, lambda: self._boot(machine, boots))

    def _boot(self, machine: Machine, boots: int) -> None:
        if machine.ended_at is None and machine.boots == boots:
            machine.booted_at = self.clock()
            self.on_boot(machine.spec)

    def _end(self, machine: Machine, at: float) -> None:
        if machine.ended_at is None:
            machine.ended_at = at
            self.on_end(machine.spec)

    def _expire(self) -> None:
        """Ends what is past its lease, at the second at which its lease ended."""
        now = self.clock()
        for machine in self.machines.values():
            end = machine.instance.lease_ends_at
            if machine.ended_at is None and end is not None and end <= now:
                self._end(machine, end)

    def _found(self, instance_id: str) -> Machine:
        self._expire()
        machine = self.machines.get(instance_id)
        if machine is None or machine.ended_at is not None:
            raise NotFound(instance_id)
        return machine

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

"""A fake cloud behind a bad line: replies are lost, calls arrive late or not at all, and it says no at times.

`RoughCloud` is the world's and outlives every orchestrator; `Line` is one orchestrator's way to it, and dies with it.
Both pass any verb through, so that a cloud can do here whatever it can do beside the contract.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from scenario import CloudSpec
from virtual_time import context_of

from provider_clients.base import Instance, LaunchSpec, Receipt
from provider_clients.errors import NoCapacity, OutcomeUnknown, ProviderError, RateLimited
from provider_clients.fake import FakeCloud, Machine

CHANGING = frozenset({"delete", "exchange", "protect", "extend"})
BESIDE = frozenset({"probe", "exchange", "protect", "extend"})


class RoughCloud:
    """`seen` are the instances that any orchestrator was ever told of."""

    def __init__(self, cloud: FakeCloud, spec: CloudSpec, dice: random.Random, broken: list[str]) -> None:
        self.cloud = cloud
        self.spec = spec
        self.strangers: set[str] = set()
        self.tags: set[str] = set()
        self.late: set[asyncio.Task[None]] = set()
        self.seen: set[str] = set()
        self.on_create: Callable[[str], Awaitable[None]] | None = None
        self._broken = broken
        self._dice = dice
        self._own = {"create": self._create, "delete": self._delete}

    def __getattr__(self, name: str) -> Any:
        if name in BESIDE and name not in self.spec.beside:
            raise AttributeError(name)
        found = self._own.get(name) or getattr(self.cloud, name)
        return partial(self._meet, name, found) if inspect.iscoroutinefunction(found) else found

    # What it is to the world

    def ours(self) -> list[Machine]:
        self.cloud.live()
        return [one for one in self.cloud.machines.values() if one.instance.id not in self.strangers]

    def of_worker(self, worker_id: str) -> Machine:
        return next(one for one in self.cloud.machines.values() if one.spec.worker_id == worker_id)

    async def add_stranger(self, name: str) -> None:
        """A machine of somebody else in the same account."""
        instance = await self.cloud.create(LaunchSpec(name, f"{self.spec.name}-gpu", "", ""), name)
        self.strangers.add(instance.id)

    # What it is to an orchestrator

    async def _meet(self, verb: str, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if verb == "aclose":
            return None
        await self._watch(verb, args)
        await self._wait()
        luck, rough = self._dice.random(), self.spec.rough
        if luck < rough.limited:
            raise RateLimited("slow down", self._dice.choice([1.0, 10.0, 30.0]))
        if verb == "create" and luck < rough.limited + rough.refused:
            raise NoCapacity("sold out")
        if verb == "create" and luck > 1.0 - rough.late:
            self._put_off(act, *args)
            raise OutcomeUnknown("no reply in time")
        lost = luck > 1.0 - rough.late - rough.lost
        if lost and self._dice.random() < 0.5:
            raise OutcomeUnknown("the request was lost")
        reply = await act(*args, **kwargs)
        await self._wait()
        if lost:
            raise OutcomeUnknown("the reply was lost")
        self._told(reply)
        return reply

    async def _create(self, spec: LaunchSpec, tag: str) -> Instance:
        """Nodes have addresses, and no agent of ours on them."""
        instance = await self.cloud.create(spec, tag)
        if self.cloud.hosted:
            machine = self.cloud.machines[instance.id]
            machine.instance = replace(machine.instance, address=instance.id)
        return self.cloud.machines[instance.id].instance

    async def _delete(self, instance_id: str) -> Receipt | None:
        """Its records of what it billed are kept, so that a receipt whose reply was lost can still be had."""
        machine = self.cloud.machines.get(instance_id)
        if machine is not None and machine.ended_at is not None:
            return machine.receipt(self.cloud.clock())
        return await self.cloud.delete(instance_id)

    async def _wait(self) -> None:
        if self._dice.random() < 0.5:
            await asyncio.sleep(self._dice.uniform(0.0, self.spec.rough.latency_s_max))

    def _put_off(self, act: Callable[..., Any], spec: LaunchSpec, tag: str) -> None:
        wait_s = self._dice.uniform(0.0, self.spec.rough.late_s_max)

        async def later() -> None:
            await asyncio.sleep(wait_s)
            try:
                await act(spec, tag)
            except ProviderError:
                return

        task = asyncio.get_running_loop().create_task(later(), context=context_of(None))
        self.late.add(task)
        task.add_done_callback(self.late.discard)

    async def _watch(self, verb: str, args: tuple[Any, ...]) -> None:
        if verb == "create":
            tag = args[1]
            if tag in self.tags:
                self._broken.append(f"{self.spec.name}: create was called twice for {tag}")
            self.tags.add(tag)
            if self.on_create is not None:
                await self.on_create(tag)
        if verb in CHANGING and args[0] in self.strangers:
            self._broken.append(f"{self.spec.name}: {verb} of the stranger {args[0]}")

    def _told(self, reply: Any) -> None:
        found = reply if isinstance(reply, tuple) else (reply,)
        self.seen.update(one.id for one in found if isinstance(one, Instance))


class Line:
    """An orchestrator's way to a cloud. Once its owner is dead, nothing comes back from it."""

    def __init__(self, cloud: RoughCloud, alive: Callable[[], bool]) -> None:
        self._cloud = cloud
        self._alive = alive

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cloud, name)
        return partial(self._carry, found) if isinstance(found, partial) else found

    async def _carry(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._alive():
            raise asyncio.CancelledError
        try:
            return await act(*args, **kwargs)
        finally:
            if not self._alive():
                raise asyncio.CancelledError

"""Letting a container group go: stopped first, watched until no instance is left, read for its bill, and deleted.

A step a call, since nobody waits here: stopped is what Salad *wants*, and containers run on for up to 80 s.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from provider_clients.base import Receipt
from provider_clients.errors import NotFound, OutcomeUnknown, Rejected
from provider_clients.http import ProviderHttp
from provider_clients.salad import billing, replies
from provider_clients.salad.account import SaladAccount
from provider_clients.salad.looks import groups_of

SETTLE_S = 20.0
"""How long the system log may take to tell the end of what ran; a stopped group costs nothing meanwhile."""


@dataclass(slots=True)
class Removal:
    """`queued` groups have a queue of their own, which goes with them."""

    http: ProviderHttp
    account: SaladAccount
    queued: bool
    clock: Callable[[], float] = time.monotonic
    _stop_asked: set[str] = field(default_factory=set)
    _empty_since: dict[str, float] = field(default_factory=dict)

    async def step(self, name: str) -> Receipt | None:
        """Goes one step further. Raises NotFound once the group, and its queue, are no more."""
        try:
            return await self._step(name)
        except NotFound as error:
            self._forget(name)
            if self.queued and await self._queue_deleted(name):
                return None
            raise await self.absence(name, error) from error

    async def absence(self, name: str, error: NotFound) -> NotFound | OutcomeUnknown:
        """What a "not found" is worth: it is one only if the project is there, and does not list the group either.

        A wrong project's name must not end leases that go on being paid for.
        """
        try:
            listed = await groups_of(self.http, self.account)
        except Rejected as project:
            return OutcomeUnknown(f"{project}, and so it says nothing about {name}")
        if any(one.name == name for one in listed):
            return OutcomeUnknown(f"Salad lists {name}, but does not find it")
        return error

    async def leaves_queue(self, name: str) -> bool:
        """Whether a group that is gone has left its queue behind."""
        if not self.queued:
            return False
        try:
            await self.http.read("GET", self.account.queue_path(name))
        except NotFound:
            return False
        return True

    async def _step(self, name: str) -> Receipt | None:
        path = self.account.group_path(name)
        group = replies.read_as(replies.Group, await self.http.read("GET", path))
        instances = replies.read_as(replies.Replicas, await self.http.read("GET", f"{path}/instances"))
        if instances.instances or (group.running and name not in self._stop_asked):
            await self._stop(name)
            return None
        events = await self._events(path)
        empty_s = self.clock() - self._empty_since.setdefault(name, self.clock())
        if not billing.settled(events) and empty_s < SETTLE_S:
            return None
        await self._delete_group(name)
        return billing.receipt(events, group)

    async def _stop(self, name: str) -> None:
        self._empty_since.pop(name, None)
        with contextlib.suppress(Rejected):  # It is stopped already, and its instances are on their way.
            await self.http.write("POST", f"{self.account.group_path(name)}/stop")
        self._stop_asked.add(name)

    async def _events(self, path: str) -> tuple[replies.Event, ...]:
        """None at all where the log cannot be read: a bill is no reason to keep a group."""
        try:
            return replies.read_as(replies.Events, await self.http.read("GET", f"{path}/system-logs")).items
        except (NotFound, OutcomeUnknown):
            return ()

    async def _delete_group(self, name: str) -> None:
        """In doubt the next step looks again; this one has the bill, which that may not find any more."""
        try:
            await self.http.write("DELETE", self.account.group_path(name))
        except (NotFound, OutcomeUnknown):
            return

    async def _queue_deleted(self, name: str) -> bool:
        """Whether there was still a queue to delete."""
        try:
            await self.http.write("DELETE", self.account.queue_path(name))
        except NotFound:
            return False
        return True

    def _forget(self, name: str) -> None:
        self._stop_asked.discard(name)
        self._empty_since.pop(name, None)

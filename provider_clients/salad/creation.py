"""Creating a container group: asked for once, and after that only looked for, by its name."""

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Any

from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError, Rejected
from provider_clients.http import ProviderHttp
from provider_clients.salad import replies
from provider_clients.salad.account import SaladAccount

LOOKS_S = (0.3, 1.2)
"""After a doubtful reply: the waits before each look for what may have been made."""
QUOTA = re.compile(r"\bquotas?\b|\bno capacity\b|\breplica limit\b", re.IGNORECASE)
CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Creation:
    """`queued` groups have a queue of their name, which must be there before them."""

    http: ProviderHttp
    account: SaladAccount
    queued: bool

    async def group(self, body: dict[str, Any]) -> replies.Group:
        """The group of that name, whether this call made it or another did.

        Raises:
            OutcomeUnknown: it may be there, though it is not to be seen.
            NoCapacity, Rejected, BadCredentials, RateLimited: it was not made.
        """
        name = str(body["name"])
        if not self.queued:
            return await self._group(name, body)
        await self._queue(name)
        try:
            return await self._group(name, body)
        except OutcomeUnknown:
            raise
        except ProviderError:
            await self._queue_given_up(name)
            raise

    async def _group(self, name: str, body: dict[str, Any]) -> replies.Group:
        try:
            reply = await self.http.write("POST", self.account.groups_path, json=body)
            return replies.read_as(replies.Group, reply)
        except OutcomeUnknown as error:
            return await self._looked_for(name, error)
        except Rejected as error:
            return await self._there_before(name, error)
        except NotFound as error:
            raise Rejected(self._no_project()) from error

    async def _queue(self, name: str) -> None:
        """Makes the queue, unless it is there. No queue is billed, so that a doubt about one ends as a plain no."""
        try:
            await self.http.write("POST", self.account.queues_path, json={"name": name, "display_name": name})
        except NotFound as error:
            raise Rejected(self._no_project()) from error
        except (OutcomeUnknown, Rejected) as error:
            if not await self._has_queue(name):
                raise _refusal(error) from error

    async def _looked_for(self, name: str, doubt: OutcomeUnknown) -> replies.Group:
        """Not being found is no proof that it will not be: what was sent may still be worked on."""
        for wait_s in LOOKS_S:
            await asyncio.sleep(wait_s)
            try:
                return await self._read(name)
            except ProviderError:
                continue
        raise OutcomeUnknown(f"{doubt}; {name} is not to be seen, but may come") from doubt

    async def _there_before(self, name: str, refusal: Rejected) -> replies.Group:
        """A group of that name is ours, and is what was asked for; else the refusal stands.

        A name in use (409) whose group is not to be seen is a doubt.
        """
        try:
            return await self._read(name)
        except ProviderError:
            if refusal.status == CONFLICT:
                raise OutcomeUnknown(f"{refusal}; {name} is in use, but is not to be seen yet") from refusal
        raise _refusal(refusal) from refusal

    async def _read(self, name: str) -> replies.Group:
        return replies.read_as(replies.Group, await self.http.read("GET", self.account.group_path(name)))

    async def _queue_given_up(self, name: str) -> None:
        """No group will have it. One that stays costs nothing."""
        with contextlib.suppress(ProviderError):
            await self.http.write("DELETE", self.account.queue_path(name))

    async def _has_queue(self, name: str) -> bool:
        try:
            await self.http.read("GET", self.account.queue_path(name))
        except ProviderError:
            return False
        return True

    def _no_project(self) -> str:
        return (
            f"Salad knows no project {self.account.project} of the organisation {self.account.organization}"
        )


def _refusal(error: OutcomeUnknown | Rejected) -> ProviderError:
    """What nothing was made for: no room in the quota, or a request that is wrong."""
    if isinstance(error, OutcomeUnknown) or QUOTA.search(str(error)):
        return NoCapacity(str(error))
    return error

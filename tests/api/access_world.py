"""People for tests of the API: users with keys, put straight into the store."""

from dataclasses import dataclass
from typing import Any

import httpx

from orchestrator.access.issue import NewKey, create_key
from orchestrator.access.newcomers import Newcomer, user_of
from orchestrator.store.people import ApiKey, User


@dataclass(frozen=True)
class Person:
    user: User
    key: ApiKey
    secret: str

    @property
    def bearer(self) -> dict[str, str]:
        return bearer(self.secret)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def person(world, role="submitter", email=None, **key: Any) -> Person:
    """A new user of that role, with a key of that role, or as `key` says."""
    parts = world.orchestrator.parts
    now = parts.clock.now()
    user = user_of(Newcomer(f"a {role}", role, email), now)
    await parts.store.add_user(user)
    issued = await create_key(parts.store, user, NewKey("a key", **key), by=None, now=now)
    return Person(user, issued.key, issued.secret)


async def get(world, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return await world.http.get(path, headers=headers)

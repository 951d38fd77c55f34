"""People of all roles, each with a key and a client of their own, before an orchestrator in this process."""

from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from api_world import World

from orchestrator.access.issue import NewKey, create_key
from orchestrator.app import create_app
from orchestrator.keys import Role
from orchestrator.store.people import ApiKey, AuditFilter, User


@dataclass
class Someone:
    user: User
    key: ApiKey
    secret: str
    http: httpx.AsyncClient

    @property
    def id(self) -> str:
        return self.user.id


@dataclass
class People:
    """`nobody` sends no key."""

    world: World
    nobody: httpx.AsyncClient
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    async def add(self, role: Role, *, email: str | None = None, **key) -> Someone:
        """A new user; `key` narrows what their key may do."""
        store, now = self.world.orchestrator.parts.store, self.world.clock.now()
        user = User(str(uuid4()), f"a {role}", role, now, email)
        await store.add_user(user)
        return await self.another_key(user, **key)

    async def another_key(self, user: User, **key) -> Someone:
        store, now = self.world.orchestrator.parts.store, self.world.clock.now()
        issued = await create_key(store, user, NewKey("a key", **key), by=None, now=now)
        return Someone(user, issued.key, issued.secret, self.client(issued.secret))

    def client(self, secret: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        client = httpx.AsyncClient(
            transport=self.nobody._transport, base_url=str(self.nobody.base_url), headers=headers
        )
        self.clients.append(client)
        return client

    async def audit(self, **which: str):
        """The newest row of the audit that matches, as it is stored."""
        rows = await self.world.orchestrator.parts.store.list_audit(AuditFilter(**which), limit=1000)
        return rows[-1] if rows else None


def people_of(world: World) -> People:
    transport = httpx.ASGITransport(create_app(world.orchestrator), client=("203.0.113.9", 1))
    return People(world, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1"))

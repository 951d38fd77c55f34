"""An orchestrator in this process, on a memory store and a fake cloud, reached through ASGI."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.app import Address, Orchestrator, build, create_app
from orchestrator.clock import ManualClock
from orchestrator.keys import hash_key, worker_key
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.protocol import Store
from orchestrator.store.rows import NewWorker, WorkerMove
from provider_clients.base import Provider
from scaling.states import WorkerState

TTS = {"engine": "csm", "backend": "test", "models": ["hibari"]}


@dataclass
class World:
    """What a test needs: a client, and the parts behind it."""

    orchestrator: Orchestrator
    http: httpx.AsyncClient
    clock: ManualClock
    agents: list["Agent"] = field(default_factory=list)

    async def agent(self, *engines: dict[str, Any]) -> "Agent":
        """A worker that the orchestrator has leased, with an agent that does what the test says."""
        parts = self.orchestrator.parts
        worker_id = f"w-{uuid4().hex[:12]}"
        key = worker_key(parts.applier.leases.deployment.secret, worker_id)
        now = parts.clock.now()
        await parts.store.intend_worker(
            NewWorker(worker_id, "test", "cpu", 0.36, now, now, hash_key(key), "a test")
        )
        move = WorkerMove(WorkerState.CREATING, (WorkerState.INTENDED,), "test", "a test")
        assert await parts.store.move_worker(worker_id, move, now=now)
        agent = Agent(self.http, worker_id, key, uuid4().hex)
        (await agent.post("register", engines=list(engines) or [TTS])).raise_for_status()
        return agent

    async def submit(self, **body: Any) -> dict[str, Any]:
        given = {"engine": "csm", "input": {"text": "Hello there."}, **body}
        reply = await self.http.post("/v1/jobs", json=given)
        assert reply.status_code == 202, reply.text
        return reply.json()


@dataclass
class Agent:
    http: httpx.AsyncClient
    id: str
    key: str
    incarnation: str

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(
            f"/internal/workers/{self.id}/{path}",
            json={"incarnation": self.incarnation, **body},
            headers={"X-Internal-API-Key": self.key},
        )

    async def claim(self, wait_s: float = 0.0, nonce: str | None = None) -> dict[str, Any] | None:
        reply = await self.post("claim", nonce=nonce or uuid4().hex, wait_s=wait_s)
        assert reply.status_code == 200, reply.text
        return reply.json()["assignment"]

    async def finish(self, job: dict[str, Any], **report: Any) -> httpx.Response:
        result = report or {"result": {"backend": "test", "model": "hibari", "text": "done"}}
        return await self.post(f"attempts/{job['attempt']}/finish", **result)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path, providers=(), reconcile_period_s=3600, health_period_s=3600, _env_file=None
    )


@asynccontextmanager
async def served(
    settings: Settings, store: Store, clients: Mapping[str, Provider] = MappingProxyType({})
) -> AsyncIterator[World]:
    """An orchestrator over this store, called in this process."""
    clock = ManualClock(1_800_000_000.0)
    orchestrator = await build(settings, Address(settings, 80), store, clock, clients)
    app = create_app(orchestrator)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield World(orchestrator, http, clock)


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with served(settings, MemoryStore()) as found:
        yield found

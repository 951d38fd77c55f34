"""The orchestrator as agents see it, over real HTTP: scripted jobs, storage for their files, and knobs for faults."""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

KEY = "wk-test"
HOST_KEY = "host-test"


@dataclass
class Emulator:
    """What agents said, what they will be told, and what goes wrong."""

    url: str = ""
    heartbeat_s: float = 0.05
    claim_wait_s: float = 0.5
    orphan_after_s: float = 30.0
    queue: deque[dict[str, Any]] = field(default_factory=deque)
    claimed: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    registered: list[dict[str, Any]] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    duties: list[dict[str, Any]] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    duties_asked: int = 0
    beats: list[dict[str, Any]] = field(default_factory=list)
    beat_times: list[float] = field(default_factory=list)
    refused: int = 0
    nonces: list[str] = field(default_factory=list)
    parked: int = 0
    progress: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    cancel: set[int] = field(default_factory=set)
    told: dict[str, Any] = field(default_factory=dict)
    down: bool = False
    unheard: int = 0
    forgotten: bool = False
    lost_claims: int = 0
    failing_puts: int = 0
    bucket: str | None = None
    stale_progress: set[int] = field(default_factory=set)
    stale_seen: set[int] = field(default_factory=set)
    stale_finish: set[int] = field(default_factory=set)
    storage_gate: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, engine: str, asked: dict[str, Any], **more: Any) -> int:
        """Queues one job; its inputs are named in `inputs`, or made from `file` (bytes)."""
        attempt = 100 + len(self.queue) + len(self.claimed)
        if "file" in more:
            name = f"input-of-{attempt}"
            self.files[name] = more.pop("file")
            more["inputs"] = {"file_url": f"{self.url}/files/{name}?signature=secret"}
        job = {
            "number": 1,
            "job_id": f"job-{attempt}",
            "time_left_s": 60.0,
            "stalled_after_s": 30.0,
            "inputs": {},
        }
        self.queue.append({**job, "attempt": attempt, "engine": engine, "input": asked, **more})
        return attempt


def make_app(world: Emulator) -> FastAPI:
    app = FastAPI()
    _host_routes(app, world)
    _agent_routes(app, world)
    _attempt_routes(app, world)
    _storage_routes(app, world)
    return app


def _check(world: Emulator, request: Request) -> None:
    if world.down:
        world.unheard += 1
        raise HTTPException(503, "down")
    if request.headers.get("x-internal-api-key") != KEY:
        world.refused += 1
        raise HTTPException(401, "wrong key")


def _host_routes(app: FastAPI, world: Emulator) -> None:
    @app.get("/internal/hosts/{name}/duties")
    async def duties(name: str, request: Request) -> dict[str, Any]:
        if world.down:
            raise HTTPException(503, "down")
        if request.headers.get("x-internal-api-key") != HOST_KEY:
            raise HTTPException(401, "wrong key")
        world.duties_asked += 1
        return {"duties": world.duties, "news": world.news}


def _agent_routes(app: FastAPI, world: Emulator) -> None:
    base = "/internal/workers/{worker_id}"

    @app.post(base + "/register")
    async def register(worker_id: str, request: Request) -> dict[str, Any]:
        _check(world, request)
        world.workers.append(worker_id)
        world.registered.append(await request.json())
        world.forgotten = False
        times = {name: getattr(world, name) for name in ("heartbeat_s", "claim_wait_s", "orphan_after_s")}
        return {**times, "origin": world.url}

    @app.post(base + "/heartbeat")
    async def heartbeat(request: Request) -> dict[str, Any]:
        _check(world, request)
        if world.forgotten:
            raise HTTPException(409, "who are you?")
        world.beats.append(await request.json())
        world.beat_times.append(time.monotonic())
        return {"cancel": sorted(world.cancel), **world.told}

    @app.post(base + "/claim")
    async def claim(request: Request) -> dict[str, Any]:
        _check(world, request)
        nonce = (await request.json())["nonce"]
        world.nonces.append(nonce)
        world.parked += 1
        for _ in range(int(world.claim_wait_s / 0.02)):
            if nonce in world.claimed or world.queue or await request.is_disconnected():
                break
            await asyncio.sleep(0.02)
        world.parked -= 1
        if (nonce not in world.claimed and not world.queue) or await request.is_disconnected():
            return {"assignment": None}
        assignment = world.claimed.setdefault(nonce, world.queue[0] if world.queue else {})
        with contextlib.suppress(ValueError):
            world.queue.remove(assignment)
        if world.lost_claims:
            world.lost_claims -= 1
            raise HTTPException(502, "the reply is lost")
        return {"assignment": assignment}


def _attempt_routes(app: FastAPI, world: Emulator) -> None:
    base = "/internal/workers/{worker_id}/attempts/{attempt}"

    @app.post(base + "/progress")
    async def progress(attempt: int, request: Request) -> dict[str, str]:
        _check(world, request)
        if attempt in world.stale_progress:
            world.stale_seen.add(attempt)
            raise HTTPException(409, "stale")
        world.progress.setdefault(attempt, []).append(await request.json())
        return {"status": "ok"}

    @app.post(base + "/logs")
    async def logs(attempt: int, request: Request) -> dict[str, str]:
        _check(world, request)
        said = await request.json()
        kept = world.logs.get(attempt, "").encode()[: said["offset"]]
        world.logs[attempt] = (kept + said["text"].encode()).decode()
        return {"status": "ok"}

    @app.post(base + "/upload")
    async def upload(attempt: int, request: Request) -> dict[str, Any]:
        _check(world, request)
        key = f"{attempt}/{(await request.json())['name']}"
        place = {"bucket": world.bucket, "object_name": f"ours/{key}"} if world.bucket else {}
        return {"key": key, "url": f"{world.url}/storage/{key}", "headers": {"X-Grant": "yes"}, **place}

    @app.post(base + "/finish")
    async def finish(attempt: int, request: Request) -> dict[str, str]:
        _check(world, request)
        if attempt in world.stale_finish:
            world.finished[attempt] = {"stale": True}
            raise HTTPException(409, "stale")
        world.finished[attempt] = await request.json()
        return {"status": "ok"}


def _storage_routes(app: FastAPI, world: Emulator) -> None:
    @app.put("/storage/{key:path}")
    async def put(key: str, request: Request) -> Response:
        await world.storage_gate.wait()
        content = await request.body()
        if world.failing_puts:
            world.failing_puts -= 1
            return Response("full", 507)
        assert request.headers["x-grant"] == "yes"
        assert "x-internal-api-key" not in request.headers
        world.stored[key] = content
        return Response(status_code=200)

    @app.get("/files/{name}")
    async def get(name: str) -> Response:
        world.fetched.append(name)
        if name not in world.files:
            return Response(status_code=404)
        return Response(world.files[name])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


@contextlib.asynccontextmanager
async def running(world: Emulator) -> AsyncIterator[Emulator]:
    """Serves on any free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    world.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    world.storage_gate.set()
    config = uvicorn.Config(make_app(world), lifespan="off", log_level="error", timeout_graceful_shutdown=1)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield world
    finally:
        world.storage_gate.set()
        server.should_exit = True
        await task

"""Each storage with its server on a real socket, and what its tests must do differently: age URLs, forge keys."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from seaweed import Seaweed

from b2.emulator import B2Emulator
from loopback_server import LoopbackServer
from orchestrator.api.problems import install
from orchestrator.clock import ManualClock
from orchestrator.storage.b2 import B2Storage
from orchestrator.storage.b2_calls import B2Account
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.protocol import Storage
from orchestrator.storage.routes import files_router
from orchestrator.storage.s3 import S3Storage
from orchestrator.storage.s3_calls import S3Account
from orchestrator.storage.sizes import PartSizes

PART_BYTES = 5 * 1024**2
SIZES = PartSizes(part_bytes=PART_BYTES, parted_above_bytes=PART_BYTES)


@dataclass
class World:
    """`folder` is a part of the storage that is this test's alone. `forger` signs with another key."""

    kind: str
    storage: Storage
    http: httpx.AsyncClient
    forger: Storage
    pass_s: Callable[[float], object]
    emulator: B2Emulator | None = None
    folder: str = ""

    def __post_init__(self):
        self.folder = f"jobs/{uuid4().hex}"

    def key(self, name: str) -> str:
        return f"{self.folder}/{name}"

    async def until_expired(self, seconds: float) -> None:
        waiting = self.pass_s(seconds)
        if asyncio.iscoroutine(waiting):
            await waiting


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def s3_account(server: Seaweed) -> S3Account:
    return S3Account(server.url, server.url, server.bucket, server.access_key, server.secret_key)


def b2_account(b2: B2Emulator, prefix: str = "avatar/outputs/") -> B2Account:
    return B2Account(b2.key_id, b2.app_key, b2.bucket, prefix, b2.url)


def world_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> AbstractAsyncContextManager[World]:
    """Of `local`, `s3` and `b2`. The S3 server is started where it is asked for."""
    match kind:
        case "local":
            return local_world(folder)
        case "s3":
            return s3_world(request.getfixturevalue("seaweed"))
        case _:
            return b2_world(folder)


@contextlib.asynccontextmanager
async def local_world(folder: Path) -> AsyncIterator[World]:
    clock, origin = ManualClock(), []
    storage = LocalStorage(folder / "storage", lambda: origin[0], b"secret", clock, sizes=SIZES)
    forger = LocalStorage(folder / "forged", lambda: origin[0], b"guessed", clock)
    app = FastAPI()
    install(app)
    app.include_router(files_router(storage))
    server = await LoopbackServer.start(app)
    origin.append(f"http://{server.address}")
    async with httpx.AsyncClient(trust_env=False) as http:
        yield World("local", storage, http, forger, clock.advance)
    await server.aclose()


@contextlib.asynccontextmanager
async def s3_world(server: Seaweed) -> AsyncIterator[World]:
    account = s3_account(server)
    storage = S3Storage(account, sizes=SIZES, piece_bytes=PART_BYTES)
    forger = S3Storage(replace(account, secret_key="guessed"), sizes=SIZES)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        yield World("s3", storage, http, forger, asyncio.sleep)
    await storage.abort_unfinished(begun_before=2**40)
    await storage.aclose()
    await forger.aclose()


@contextlib.asynccontextmanager
async def b2_world(folder: Path) -> AsyncIterator[World]:
    async with B2Emulator() as b2:
        account = b2_account(b2)
        storage = B2Storage(account, folder / "spool", sizes=SIZES)
        forger = B2Storage(replace(account, app_key="guessed"), folder / "forged", sizes=SIZES)
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            yield World("b2", storage, http, forger, asyncio.sleep, b2)
        await storage.aclose()
        await forger.aclose()


def dead_url() -> str:
    """Where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"

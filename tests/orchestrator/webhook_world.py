"""An outbox on a memory store, with receivers of its own over real sockets, and a clock that tests move."""

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from orchestrator.clock import ManualClock
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import User
from orchestrator.store.rows import NewJob
from orchestrator.webhooks import Schedule, Sender, Webhooks
from scaling.snapshot import Need

SECRET = b"a deployment's"
OWNER = User("u-1", "Ada", "submitter", 0.0)


@dataclass
class Got:
    kind: str
    body: bytes
    headers: dict[str, str]
    port: int
    """The sender's."""


class Receiver:
    """Answers as its path says, and keeps what it got."""

    def __init__(self):
        self.got: list[Got] = []
        self.app = FastAPI()
        self.app.post("/{kind}")(self.receive)

    async def receive(self, kind: str, request: Request):
        self.got.append(Got(kind, await request.body(), dict(request.headers), request.client.port))
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "endless":
            return StreamingResponse(endless())
        if kind == "drip":
            return StreamingResponse(endless(), headers={"content-length": "4000"})
        if kind == "moved":
            return Response(status_code=301, headers={"location": "/ok"})
        return Response(status_code={"ok": 200, "empty": 204}.get(kind, 500))

    def kinds(self):
        return [one.kind for one in self.got]

    async def until(self, count, *kinds):
        """So many came, of these kinds or of any."""
        async with asyncio.timeout(10):
            while sum(not kinds or kind in kinds for kind in self.kinds()) < count:
                await asyncio.sleep(0.01)


async def endless():
    while True:
        yield b"x"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def served(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


async def signed(result):
    files = [file.model_copy(update={"url": f"https://files/{file.key}"}) for file in result.files]
    return result.model_copy(update={"files": tuple(files)})


@dataclass
class Outbox:
    """The clock begins at the true time, since receivers refuse signatures that are old."""

    url: str
    receiver: Receiver
    schedule: Schedule = field(default_factory=Schedule)
    clock: ManualClock = field(default_factory=lambda: ManualClock(time.time()))
    store: MemoryStore = field(default_factory=MemoryStore)
    made: int = 0

    def __post_init__(self):
        self.webhooks = self.fresh()

    def fresh(self, sign=signed, allow_hosts=("127.0.0.1",)) -> Webhooks:
        """As after a restart."""
        sender = Sender(self.store, self.clock, sign, SECRET, allow_hosts)
        return Webhooks(self.store, self.clock, sender, self.schedule, random.Random(1))

    async def ended_job(self, url: str, owner: str = "") -> str:
        self.made += 1
        job_id, now = f"{self.made:08d}-1111-1111-1111-111111111111", self.clock.now()
        need = Need("csm", owner=owner)
        await self.store.submit_jobs(
            [NewJob(job_id, need, {"text": "x"}, now, now + 9e6, 1200, notify_url=url)]
        )
        await self.store.cancel_job(job_id, who="test", reason="cancelled by its client", now=now)
        self.clock.advance(0.000001)  # What was made later is due later.
        return job_id

    async def turn(self):
        await self.webhooks.deliver_due()
        await self.webhooks.drain()

    async def delivery(self, job_id: str):
        (found,) = await self.store.list_deliveries(job_id)
        return found


@asynccontextmanager
async def opened(schedule: Schedule | None = None):
    receiver = Receiver()
    async with served(receiver.app) as url:
        outbox = Outbox(url, receiver, schedule or Schedule())
        await outbox.store.add_user(OWNER)
        yield outbox
        await outbox.webhooks.aclose(grace_s=0)

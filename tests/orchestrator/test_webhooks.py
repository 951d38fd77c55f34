"""Webhooks against real receivers: one that is well, and those that are not."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from gpulease.contract.jobs import OutputFile, Result
from orchestrator.clock import ManualClock
from orchestrator.store.memory import MemoryStore
from orchestrator.store.rows import NewJob
from orchestrator.webhooks import DUE_MAX, PER_HOST_MAX, RETRY_S, TRIES_MAX, Webhooks
from scaling.snapshot import Need
from scaling.states import JobState


class Receiver:
    """Answers as its path says, and remembers what it got."""

    def __init__(self):
        self.got = []
        self.app = FastAPI()
        self.app.post("/{kind}")(self.receive)

    async def receive(self, kind: str, request: Request):
        self.got.append((kind, await request.json(), dict(request.headers)))
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "endless":
            return StreamingResponse(endless())
        if kind == "moved":
            return Response(status_code=301, headers={"location": "/ok"})
        return Response(status_code=200 if kind == "ok" else 500)


async def endless():
    while True:
        yield b"x" * 1000
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


@pytest.fixture
async def hooks():
    clock, store, receiver = ManualClock(), MemoryStore(), Receiver()

    async def signed(result):
        files = [file.model_copy(update={"url": f"https://files/{file.key}"}) for file in result.files]
        return result.model_copy(update={"files": tuple(files)})

    webhooks = Webhooks(store, clock, signed=signed, allow_hosts=["127.0.0.1"])
    async with served(receiver.app) as url:
        yield webhooks, store, clock, receiver, url
        await webhooks.aclose()


async def ended_job(store, clock, url, job_id="11111111-1111-1111-1111-111111111111"):
    now = clock.now()
    job = NewJob(job_id, Need("csm"), {"text": "x"}, now, now + 3600, 1200, notify_url=url)
    await store.submit_jobs([job])
    await store.cancel_job(job_id, who="test", reason="cancelled by its client", now=now)
    return job_id


async def turn(webhooks):
    await webhooks.deliver_due()
    await webhooks.drain()


async def test_it_is_delivered_once(hooks):
    webhooks, store, clock, receiver, url = hooks
    job_id = await ended_job(store, clock, f"{url}/ok")
    await turn(webhooks)
    await turn(webhooks)
    ((_, body, headers),) = receiver.got
    assert (body["id"], body["status"]) == (job_id, "failed")
    assert "cancelled" in body["error"]
    assert headers["webhook-id"]
    (delivery,) = await store.list_deliveries(job_id)
    assert delivery.done_at is not None


@pytest.mark.parametrize(("kind", "word"), [("broken", "500"), ("moved", "301")])
async def test_five_tries_five_seconds_apart(hooks, kind, word):
    webhooks, store, clock, receiver, url = hooks
    job_id = await ended_job(store, clock, f"{url}/{kind}")
    for n in range(TRIES_MAX + 2):
        await turn(webhooks)
        assert len(receiver.got) == min(n + 1, TRIES_MAX)
        await turn(webhooks)
        assert len(receiver.got) == min(n + 1, TRIES_MAX)
        clock.advance(RETRY_S)
    assert {headers["webhook-id"] for _, _, headers in receiver.got} == {receiver.got[0][2]["webhook-id"]}
    (delivery,) = await store.list_deliveries(job_id)
    assert (delivery.tries, word in delivery.last_error) == (TRIES_MAX, True)


async def test_a_receiver_that_hangs_slows_nobody_else(hooks):
    webhooks, store, clock, receiver, url = hooks
    for n in range(6):
        await ended_job(store, clock, f"{url}/hang", f"{n}" * 8 + "-1111-1111-1111-111111111111")
    async with served(receiver.app) as elsewhere:
        await ended_job(store, clock, f"{elsewhere}/ok", "a" * 8 + "-1111-1111-1111-111111111111")
        await asyncio.wait_for(webhooks.deliver_due(), 1)
        await asyncio.sleep(0.5)
    kinds = [kind for kind, _, _ in receiver.got]
    assert (kinds.count("hang"), kinds.count("ok")) == (PER_HOST_MAX, 1)


async def test_a_long_queue_for_one_that_hangs_hides_nobody_else(hooks):
    webhooks, store, clock, receiver, url = hooks
    async with served(receiver.app) as elsewhere:
        for n in range(DUE_MAX + 1):
            await ended_job(store, clock, f"{url}/hang", f"{n:08d}-1111-1111-1111-111111111111")
            clock.advance(0.001)
        await ended_job(store, clock, f"{elsewhere}/ok", "99999999-1111-1111-1111-111111111111")
        for _ in range(2):
            await webhooks.deliver_due()
            await asyncio.sleep(0.3)
    assert "ok" in [kind for kind, _, _ in receiver.got]


async def test_a_reply_without_end_is_not_read(hooks):
    webhooks, store, clock, _, url = hooks
    job_id = await ended_job(store, clock, f"{url}/endless")
    await asyncio.wait_for(turn(webhooks), 5)
    (delivery,) = await store.list_deliveries(job_id)
    assert (delivery.last_error, delivery.done_at is None) == (None, False)


async def test_a_private_address_is_refused_again_at_the_send(hooks):
    _, store, clock, receiver, url = hooks
    strict = Webhooks(store, clock, signed=None)
    job_id = await ended_job(store, clock, f"{url}/ok")
    await turn(strict)
    assert receiver.got == []
    (delivery,) = await store.list_deliveries(job_id)
    assert "ForbiddenAddress" in delivery.last_error
    await strict.aclose()


async def test_the_payload_has_the_seeds_form(hooks):
    webhooks, store, clock, _, url = hooks
    job_id = await ended_job(store, clock, f"{url}/ok")
    job = await store.get_job(job_id)
    text = replace(job, state=JobState.SUCCEEDED, result=Result(backend="b", text="hello"))
    assert await webhooks.payload(text) == {"id": job_id, "status": "success", "text": "hello"}
    file = OutputFile(name="a.mp3", key="k/a.mp3", size_bytes=1)
    media = replace(job, state=JobState.SUCCEEDED, result=Result(backend="b", files=(file,)))
    assert (await webhooks.payload(media))["result_url"] == "https://files/k/a.mp3"

"""A queue as one agent uses it, against the emulated Salad, without any container."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from provider_clients.salad import SaladQueue
from provider_clients.salad.account import SaladAccount
from salad.emulator import SaladEmulator
from worker_image.faults import HostFault
from worker_image.hosted.duties import News
from worker_image.hosted.remote import RemoteJob
from worker_image.hosted.salad import SaladBackend, offers_of
from worker_image.hosted.salad_queue import QueueDesk
from worker_image.upload import Handover

HANDOVER = Handover(
    orchestrator="http://here", worker_id="w", worker_key="wk", attempt=0, incarnation="12345678"
)


def quiet(*_, **__) -> None:
    pass


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SaladEmulator]:
    async with SaladEmulator("k", folder=tmp_path) as cloud:
        url = f"{cloud.url}/organizations/acme/projects/render/queues"
        async with httpx.AsyncClient(headers={"Salad-Api-Key": "k"}, trust_env=False) as client:
            (await client.post(url, json={"name": "qq"})).raise_for_status()
        yield cloud


@pytest.fixture
async def queue(cloud: SaladEmulator) -> AsyncIterator[SaladQueue]:
    queue = SaladQueue(SaladAccount("k", "acme", "render", cloud.url))
    yield queue
    await queue.aclose()


@pytest.fixture
def backend(queue: SaladQueue) -> SaladBackend:
    return SaladBackend(QueueDesk(queue, "qq", News(), None, poll_s=0.05), HANDOVER, offers_of(("csm",)))


def job(attempt: int) -> RemoteJob:
    asked = {"file_url": "upload://1", "frames": "1"}
    own = ("job", "blender", None, asked, {}, "/nowhere")
    return RemoteJob(*own, attempt=attempt, inputs={"file_url": "http://here/1"})


async def posted(queue: SaladQueue) -> list:
    return [one async for one in queue.jobs("qq")]


async def test_a_job_that_waits_can_be_taken_back(queue: SaladQueue, backend: SaladBackend):
    call = asyncio.create_task(backend.run(job(7), quiet))
    async with asyncio.timeout(5):
        while not (found := await posted(queue)):
            await asyncio.sleep(0.02)
    assert (found[0].metadata, found[0].status) == ({"id": "job-7"}, "pending")
    await backend.stop(8)
    assert not call.done()
    await backend.stop(7)
    with pytest.raises(HostFault, match="cancelled"):
        await call


async def test_a_post_of_unknown_outcome_is_found_and_not_repeated(
    cloud: SaladEmulator, queue: SaladQueue, backend: SaladBackend
):
    cloud.knobs.next = ["job_unknown"]
    call = asyncio.create_task(backend.run(job(7), quiet))
    async with asyncio.timeout(5):
        while not backend._posted:
            await asyncio.sleep(0.02)
    assert len(await posted(queue)) == 1
    await backend.stop(7)
    with pytest.raises(HostFault):
        await call


async def test_a_queue_that_does_not_exist_is_the_hosts_fault(queue: SaladQueue):
    desk = QueueDesk(queue, "other", News(), None, poll_s=0.05)
    with pytest.raises(HostFault, match="does not take the job"):
        await SaladBackend(desk, HANDOVER, ()).run(job(7), quiet)


async def test_inputs_and_the_grant_to_store_go_with_the_job(
    cloud: SaladEmulator, queue: SaladQueue, backend: SaladBackend
):
    call = asyncio.create_task(backend.run(job(7), quiet))
    async with asyncio.timeout(5):
        while not await posted(queue):
            await asyncio.sleep(0.02)
    ((asked,),) = (
        [one.asked["input"] for one in each.jobs.values()] for each in cloud._cloud.queues.values()
    )
    assert (asked["engine"], asked["job_id"]) == ("blender", "job-7")
    assert asked["input"] == {"file_url": "http://here/1", "frames": "1"}
    assert (asked["handover"]["attempt"], asked["handover"]["incarnation"]) == (7, "12345678")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_news_wake_whoever_waits_and_are_heard_once():
    news = News()
    waiting = asyncio.create_task(news.wait("a", 5))
    await asyncio.sleep(0)
    news.tell(("b", "a"))
    assert await waiting
    news.tell(("a",))
    assert not await news.wait("a", 0.01)
    assert await news.wait("b", 0.01)


def test_engines_of_an_image_are_named_with_their_models():
    named = offers_of(("csm", "whisper/tiny.en", "whisper/small"))
    assert [(one.engine, one.models, one.features) for one in named] == [
        ("csm", (), ()),
        ("whisper", ("tiny.en", "small"), ("multilingual", "translate")),
    ]
    with pytest.raises(ValueError, match="no engine 'csn'"):
        offers_of(("csn",))

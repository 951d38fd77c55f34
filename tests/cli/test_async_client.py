"""The async client does what the sync one does."""

import inspect

import pytest
from stand_in import SPEECH

from gpulease.client import AsyncClient, Client, Conflict, JobProgress, NotFound, Unreachable
from gpulease.contract.jobs import EventView, JobRequest

CSM = JobRequest(engine="csm", input={"text": "Good morning."})


@pytest.fixture
async def aclient(state):
    async with AsyncClient(state.url, "secret") as client:
        yield client


def test_both_clients_have_the_same_calls():
    def calls(kind):
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if not name.startswith("_") and name not in {"close", "aclose"}
        }

    assert calls(Client) == calls(AsyncClient)


async def test_a_job_from_submit_to_its_file(aclient, state, tmp_path):
    state.cut_after.append(2)
    state.refuse.append(503)
    job = await aclient.submit(CSM)
    with pytest.raises(Conflict):
        await aclient.result(job.id)
    events = [event async for event in aclient.watch(job.id)]
    assert [event.seq for event in events if isinstance(event, EventView)] == [1, 2, 3]
    assert any(isinstance(event, JobProgress) for event in events)
    result = await aclient.result(job.id)
    path = await aclient.download(result.files[0], tmp_path)
    assert path.read_bytes() == SPEECH


async def test_wait_pages_batch_cancel_retry(aclient):
    reply = await aclient.submit_batch([CSM, CSM, CSM])
    assert len([job async for job in aclient.jobs(page=2)]) == 3
    first = reply.items[0].job
    assert (await aclient.wait(first.id)).status == "succeeded"
    assert (await aclient.cancel(reply.items[1].job.id)).status == "cancelled"
    assert (await aclient.retry(first.id)).retry_of == first.id
    assert await aclient.logs(first.id) == "one\ntwo\n"
    assert len(await aclient.events(first.id)) == 1


async def test_an_upload_arrives_whole(aclient, state, tmp_path):
    path = tmp_path / "speech.mp3"
    path.write_bytes(SPEECH)
    assert (await aclient.upload(path)).url == "upload://u1"
    assert state.uploads == {"speech.mp3": SPEECH}


async def test_fleet_and_policy(aclient):
    assert (await aclient.workers())[0]["id"] == "w1"
    assert (await aclient.drain("w1"))["state"] == "draining"
    assert (await aclient.stop("w1"))["state"] == "stopping"
    assert (await aclient.engines())[0]["name"] == "csm"
    assert (await aclient.plan())["actions"]
    assert (await aclient.costs())["leases"] == []
    assert await aclient.set_policy(await aclient.policy()) == {"name": "whatif"}
    await aclient.check()


async def test_errors_are_the_same(aclient, state):
    with pytest.raises(NotFound):
        await aclient.job("none")
    async with AsyncClient("http://127.0.0.1:9") as nowhere:
        with pytest.raises(Unreachable):
            await nowhere.workers()

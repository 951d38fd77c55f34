"""Jobs in Salad's queues: posted once, whatever becomes of the reply."""

import httpx
import pytest
from salad_api import BASE, HTML, QUEUE, sent
from salad_api import TAG as NAME

from provider_clients.errors import NotFound, OutcomeUnknown, Rejected
from provider_clients.salad import SaladAccount, SaladQueue

JOBS = f"{QUEUE}/jobs"
METADATA = {"id": "attempt-7", "job_id": "j-1"}


def job(job_id="50150edd", status="pending", **more):
    return {
        "id": job_id,
        "input": {},
        "status": status,
        "events": [{"action": "created", "time": "2024-01-20T01:02:48.4787553+00:00"}],
        "metadata": METADATA,
        # The document says that this is no URL; the API says that it is one.
        "webhook": "https://hooks.example.com/salad",
        **more,
    }


def others(count):
    return [job(f"other-{number}", metadata=None) for number in range(count)]


@pytest.fixture
def api(respx_mock):
    return respx_mock


@pytest.fixture
async def queue():
    made = SaladQueue(SaladAccount("salad-key", "acme", "render", BASE))
    yield made
    await made.aclose()


async def test_a_job_is_posted_with_our_id(api, queue):
    posted = api.post(JOBS).respond(201, json=job())
    assert await queue.post(NAME, {"text": "hi"}, METADATA, "https://gpulease.test/hook") == "50150edd"
    assert sent(posted.calls.last) == {
        "input": {"text": "hi"},
        "metadata": METADATA,
        "webhook": "https://gpulease.test/hook",
    }


async def test_without_a_webhook_none_is_sent(api, queue):
    posted = api.post(JOBS).respond(201, json=job())
    await queue.post(NAME, None, METADATA)
    assert sent(posted.calls.last) == {"input": None, "metadata": METADATA}


@pytest.mark.parametrize("reply", [HTML, httpx.Response(201, json={}), httpx.ReadTimeout("slow")], ids=repr)
async def test_after_a_lost_reply_the_job_is_looked_for_on_all_pages(api, queue, reply):
    posted = api.post(JOBS).mock(side_effect=[reply])
    api.get(JOBS, params={"page": 1, "page_size": 100}).respond(json={"items": others(100)})
    api.get(JOBS, params={"page": 2, "page_size": 100}).respond(json={"items": [*others(3), job("ours")]})
    assert await queue.post(NAME, {}, METADATA) == "ours"
    assert posted.call_count == 1


async def test_a_job_that_is_not_to_be_seen_is_a_doubt_and_is_not_posted_again(api, queue):
    posted = api.post(JOBS).mock(return_value=HTML)
    looked = api.get(JOBS).respond(json={"items": others(3)})
    with pytest.raises(OutcomeUnknown):
        await queue.post(NAME, {}, METADATA)
    assert (posted.call_count, looked.call_count) == (1, 2)
    looked.respond(json={"items": [job("ours")]})
    found = await queue.find(NAME, "attempt-7")
    assert found is not None
    assert found.id == "ours"
    assert await queue.find(NAME, "attempt-8") is None


async def test_a_refused_job_is_refused(api, queue):
    api.post(JOBS).respond(400, json={"errors": {"metadata": ["too many"]}})
    with pytest.raises(Rejected, match="metadata"):
        await queue.post(NAME, {}, METADATA)
    api.post(JOBS).respond(404)
    with pytest.raises(NotFound):
        await queue.post(NAME, {}, METADATA)


async def test_a_job_tells_its_status_output_and_events(api, queue):
    told = [{"action": "created", "time": "2024-01-20T01:02:48.4787553+00:00"}, {"action": "succeeded"}]
    api.get(f"{JOBS}/50150edd").respond(json=job(status="succeeded", output={"status": "ok"}, events=told))
    got = await queue.job(NAME, "50150edd")
    assert (got.id, got.status, got.output) == ("50150edd", "succeeded", {"status": "ok"})
    assert got.metadata == METADATA
    assert [one.action for one in got.events] == ["created", "succeeded"]
    assert got.events[0].at == pytest.approx(1705712568.478755)
    assert got.events[1].at is None


@pytest.mark.parametrize("reply", [HTML, httpx.Response(200, json=job(status="mislaid"))], ids=repr)
async def test_an_unreadable_job_is_a_doubt(api, queue, reply):
    api.get(f"{JOBS}/50150edd").mock(return_value=reply)
    with pytest.raises(OutcomeUnknown):
        await queue.job(NAME, "50150edd")


async def test_a_job_that_is_gone_is_not_found(api, queue):
    api.get(f"{JOBS}/50150edd").respond(404)
    with pytest.raises(NotFound):
        await queue.job(NAME, "50150edd")


async def test_only_a_waiting_job_is_cancelled(api, queue):
    cancelled = api.delete(f"{JOBS}/50150edd").respond(202)
    await queue.cancel(NAME, "50150edd")
    cancelled.respond(404)
    await queue.cancel(NAME, "50150edd")
    cancelled.respond(400, json={"detail": "it is running"})
    with pytest.raises(Rejected, match="running"):
        await queue.cancel(NAME, "50150edd")

"""The agent protocol, from the orchestrator's side: fencing, parking, uploads."""

import asyncio
import json
from uuid import uuid4

from stopwatch import Stopwatch

from orchestrator.app import create_app


async def test_a_parked_claim_is_answered_when_a_job_comes(world):
    agent = await world.agent()
    parked = asyncio.create_task(agent.claim(wait_s=20))
    await asyncio.sleep(0.05)
    with Stopwatch() as took:
        job = await world.submit()
        assert (await asyncio.wait_for(parked, 15))["job_id"] == job["id"]
    assert took.seconds < 1


async def test_two_parked_workers_get_two_jobs(world):
    agents = [await world.agent(), await world.agent()]
    parked = [asyncio.create_task(agent.claim(wait_s=20)) for agent in agents]
    await asyncio.sleep(0.05)
    jobs = {(await world.submit())["id"], (await world.submit())["id"]}
    assert {job["job_id"] for job in await asyncio.wait_for(asyncio.gather(*parked), 15)} == jobs


async def test_a_lost_claim_reply_is_given_again(world):
    await world.submit()
    agent = await world.agent()
    nonce = uuid4().hex
    first = await agent.claim(nonce=nonce)
    assert (await agent.claim(nonce=nonce))["attempt"] == first["attempt"]


async def test_the_same_finish_twice_is_fine_and_a_different_one_is_stale(world):
    await world.submit()
    agent = await world.agent()
    job = await agent.claim()
    assert (await agent.finish(job)).status_code == 200
    assert (await agent.finish(job)).status_code == 200
    other = await agent.finish(job, result={"backend": "test", "text": "something else"})
    assert other.status_code == 409


async def test_a_zombie_changes_nothing(world):
    """Its worker was given up, another finished the job, and then it comes back with a result."""
    job = await world.submit()
    zombie, other = await world.agent(), await world.agent()
    old = await zombie.claim()
    await world.http.post(f"/v1/workers/{zombie.id}/stop")
    new = await other.claim()
    assert new["job_id"] == job["id"]
    assert (await other.finish(new)).status_code == 200
    late = await zombie.finish(old, result={"backend": "zombie", "text": "mine"})
    assert late.status_code == 409
    assert (
        await zombie.post(f"attempts/{old['attempt']}/progress", phase="inferring", progress=0.5)
    ).status_code == 409
    shown = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert shown["result"]["backend"] == "test"
    assert [attempt["state"] for attempt in shown["attempts"]] == ["lost", "succeeded"]


async def test_a_wrong_key_learns_nothing(world):
    agent = await world.agent()
    agent.key = "wrong"
    assert (await agent.post("claim", nonce=uuid4().hex)).status_code == 401
    agent.id = "w-nonesuch"
    assert (await agent.post("claim", nonce=uuid4().hex)).status_code == 401


async def test_an_output_must_be_stored_before_it_is_named(world):
    job = await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    asked = {"name": "speech.mp3", "size_bytes": 4, "content_type": "audio/mpeg"}
    grant = (await agent.post(f"attempts/{assigned['attempt']}/upload", **asked)).json()
    file = {"name": "speech.mp3", "key": grant["key"], "size_bytes": 4}
    result = {"result": {"backend": "test", "files": [file]}}
    assert (await agent.finish(assigned, **result)).status_code == 422
    assert (await world.http.put(grant["url"], content=b"abcd", headers=grant["headers"])).status_code < 300
    assert (await agent.finish(assigned, **result)).status_code == 200
    shown = (await world.http.get(f"/v1/jobs/{job['id']}/result")).json()
    assert (await world.http.get(shown["files"][0]["url"])).content == b"abcd"


async def test_an_attempt_cannot_name_another_attempts_files(world):
    await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    file = {"name": "x", "key": "jobs/other/1/x", "size_bytes": 4}
    assert (await agent.finish(assigned, result={"backend": "t", "files": [file]})).status_code == 422


async def test_a_host_fault_goes_to_another_worker(world):
    job = await world.submit()
    bad = await world.agent()
    assigned = await bad.claim()
    fault = {"fault": {"kind": "host", "code": "engine_crashed", "message": "the engine died"}}
    assert (await bad.finish(assigned, **fault)).status_code == 200
    assert await bad.claim() is None
    good = await world.agent()
    assert (await good.claim())["job_id"] == job["id"]


async def test_a_job_fault_is_not_tried_again(world):
    job = await world.submit()
    agent = await world.agent()
    fault = {"fault": {"kind": "job", "code": "bad_input", "message": "that is no text"}}
    await agent.finish(await agent.claim(), **fault)
    shown = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert (shown["status"], shown["fault"]["message"]) == ("failed", "that is no text")
    assert (await world.http.get(f"/v1/jobs/{job['id']}/result")).json()["detail"] == "that is no text"


async def test_logs_are_kept_once_by_offset(world):
    job = await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    for offset, text in ((0, "hello "), (6, "world"), (0, "hello ")):
        await agent.post(f"attempts/{assigned['attempt']}/logs", offset=offset, text=text)
    reply = await world.http.get(f"/v1/jobs/{job['id']}/logs")
    assert (reply.text, reply.headers["x-next-offset"]) == ("hello world", "11")


async def test_an_overdue_job_is_timed_out_and_its_worker_told(world):
    job = await world.submit(max_time=60)
    agent = await world.agent()
    assigned = await agent.claim()
    world.clock.advance(61)
    await world.orchestrator.parts.reconciler.step()
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "timed_out"
    assert (await agent.finish(assigned)).status_code == 409


async def test_an_attempt_that_nobody_holds_goes_back_to_the_queue(world):
    job = await world.submit()
    agent = await world.agent()
    await agent.claim()
    world.clock.advance(40)
    assert (await agent.post("heartbeat", attempts=[])).status_code == 200
    await world.orchestrator.parts.reconciler.step()
    shown = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert [attempt["state"] for attempt in shown["attempts"]] == ["lost"]


async def test_drain_ends_a_parked_claim_at_once(world):
    agent = await world.agent()
    parked = asyncio.create_task(agent.post("claim", nonce=uuid4().hex, wait_s=20))
    await asyncio.sleep(0.05)
    await world.http.post(f"/v1/workers/{agent.id}/drain")
    assert (await asyncio.wait_for(parked, 15)).json()["assignment"] is None


async def test_a_claim_whose_caller_hung_up_gets_no_job(world):
    agent = await world.agent()
    app = create_app(world.orchestrator)
    body = {"incarnation": agent.incarnation, "nonce": "nonce-of-the-dead", "wait_s": 30}
    messages = [{"type": "http.request", "body": json.dumps(body).encode()}]
    gone = asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_):
        return None

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": f"/internal/workers/{agent.id}/claim",
        "query_string": b"",
        "headers": [(b"x-internal-api-key", agent.key.encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    call = asyncio.create_task(app(scope, receive, send))
    dispatcher = world.orchestrator.parts.dispatcher
    while agent.id not in dispatcher.parked():
        await asyncio.sleep(0.01)
    gone.set()
    await asyncio.wait_for(call, 5)
    assert not dispatcher.parked()
    job = await world.submit()
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "queued"

"""Following a job: over a real socket, since a stream needs one."""

import asyncio
import json

import httpx
import pytest
import uvicorn

from orchestrator.app import create_app


@pytest.fixture
async def served(world):
    config = uvicorn.Config(create_app(world.orchestrator), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        yield http
    world.orchestrator.parts.agents.feed.close()
    server.should_exit = True
    await running


async def read_stream(http, job_id, events=None, **headers):
    events = [] if events is None else events
    async with http.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream", **headers}
    ) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        fields = {}
        async for line in reply.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                events.append(fields)
                fields = {}
    return events


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def run_job(world, served):
    job, events = await world.submit(), []
    following = asyncio.create_task(read_stream(served, job["id"], events))
    await until(lambda: world.orchestrator.parts.agents.feed._waiting)
    agent = await world.agent()
    assigned = await agent.claim()
    await agent.post(
        f"attempts/{assigned['attempt']}/progress", phase="inferring", progress=0.4, message="going"
    )
    await until(lambda: any(one["event"] == "progress" for one in events))
    await agent.finish(assigned)
    return job, await asyncio.wait_for(following, 5)


async def test_a_stream_shows_moves_and_progress_and_ends(world, served):
    _, events = await run_job(world, served)
    moves = [json.loads(one["data"])["after"] for one in events if one["event"] == "move"]
    assert moves[0] == "queued"
    assert moves[-1] == "succeeded"
    progress = [json.loads(one["data"]) for one in events if one["event"] == "progress"]
    assert {"phase": "inferring", "progress": 0.4, "message": "going"} in progress
    assert [int(one["id"]) for one in events if "id" in one] == sorted(
        {int(one["id"]) for one in events if "id" in one}
    )


async def test_a_stream_resumes_after_the_last_id(world, served):
    job, events = await run_job(world, served)
    ids = [int(one["id"]) for one in events if "id" in one]
    again = await read_stream(served, job["id"], **{"Last-Event-ID": str(ids[1])})
    assert [int(one["id"]) for one in again if "id" in one] == ids[2:]


async def test_a_client_that_leaves_is_forgotten(world, served):
    job = await world.submit()
    headers = {"Accept": "text/event-stream"}
    async with served.stream("GET", f"/v1/jobs/{job['id']}/events", headers=headers) as reply:
        await anext(reply.aiter_lines())
    feed = world.orchestrator.parts.agents.feed
    await until(lambda: not feed._waiting)
    assert (await served.get("/livez")).status_code == 200


@pytest.mark.parametrize("seen", ["²", "9" * 40, "-1", "a"])
async def test_an_id_that_is_no_events_is_refused(world, seen):
    job = (await world.http.post("/v1/jobs", json={"engine": "csm", "input": {"text": "x"}})).json()["id"]
    reply = await world.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": seen.encode()})
    assert reply.status_code == 422
    reply = await world.http.get(f"/v1/jobs/{job}/events", params={"after": 2**63})
    assert reply.status_code == 422

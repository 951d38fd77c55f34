"""Bad luck around a job: a full disk, a clock that is stepped."""

import asyncio
import errno
from dataclasses import replace

import httpx
import pytest
from api_world import Agent, World

from orchestrator.app import Address, build, create_app
from orchestrator.clock import SteadyClock
from orchestrator.store.memory import MemoryStore


def no_space(_path):
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_refuses_the_result_and_keeps_the_job(world):
    job = await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    asked = {"name": "speech.mp3", "size_bytes": 4}
    grant = (await agent.post(f"attempts/{assigned['attempt']}/upload", **asked)).json()
    storage = world.orchestrator.parts.storage
    roomy, storage._opener = storage._opener, no_space
    refused = await world.http.put(grant["url"], content=b"abcd")
    assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
    assert (await world.http.post("/v1/uploads", content=b"more")).status_code == 507
    file = {"name": "speech.mp3", "key": grant["key"], "size_bytes": 4}
    result = {"result": {"backend": "test", "files": [file]}}
    assert (await agent.finish(assigned, **result)).status_code == 422
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "running"
    storage._opener = roomy
    assert (await world.http.put(grant["url"], content=b"abcd")).status_code == 204
    assert (await agent.finish(assigned, **result)).status_code == 200


@pytest.mark.parametrize("step_s", [3600, -3600])
async def test_an_hours_step_of_the_clock_loses_no_worker_and_no_job(settings, step_s):
    wall, elapsed = [1_800_000_000.0], [0.0]
    clock = SteadyClock(lambda: wall[0], lambda: elapsed[0])
    orchestrator = await build(settings, Address(settings, 80), MemoryStore(), clock, {})
    transport = httpx.ASGITransport(create_app(orchestrator), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        world = World(orchestrator, http, clock)
        job = await world.submit(complete_in=600)
        agent: Agent = await world.agent()
        assigned = await agent.claim()
        wall[0] += step_s
        for _ in range(4):
            wall[0] += 5
            elapsed[0] += 5
            await agent.post("heartbeat", attempts=[assigned["attempt"]])
            await orchestrator.parts.reconciler.step()
        assert (await http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "running"
        assert (await http.get("/v1/workers")).json()["items"][0]["state"] == "ready"
        assert (await agent.finish(assigned)).status_code == 200
        await orchestrator.stop()


async def test_a_job_says_so_when_no_plan_can_be_made(world):
    policy = world.orchestrator.parts.policy
    policy.current = replace(policy.current, name="nonesuch")
    job = await world.submit()
    async with asyncio.timeout(10):
        while not (shown := (await world.http.get(f"/v1/jobs/{job['id']}")).json()["blocked"]):
            await asyncio.sleep(0.02)
    assert "plan" in shown
    assert "nonesuch" in (await world.http.get("/healthz")).json()["loops"]["reconcile"]["error"]

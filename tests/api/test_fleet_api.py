"""Keys, workers, policy, costs, health: what ops see and do."""

import asyncio
import hashlib

import pytest
from access_world import person


async def test_loopback_needs_no_key_until_there_is_one(world):
    assert (await world.http.get("/v1/jobs")).status_code == 200
    parts = world.orchestrator.parts
    admin = (await person(world, "admin")).secret
    refused = await world.http.get("/v1/jobs")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    for headers in ({"Authorization": f"Bearer {admin}"}, {"X-C3-RENDER-KEY": admin}):
        assert (await world.http.get("/v1/jobs", headers=headers)).status_code == 200
    assert (await world.http.get("/v1/jobs", headers={"Authorization": "Bearer wrong"})).status_code == 401
    stored = await parts.store.list_keys()
    assert admin not in repr(stored)
    assert stored[0].hash == hashlib.sha256(admin.encode()).hexdigest()


@pytest.mark.parametrize(
    ("role", "allowed"), [("viewer", [200, 403, 403, 403]), ("submitter", [200, 202, 403, 403])]
)
async def test_roles_may_do_what_they_may(world, role, allowed):
    http, headers = world.http, (await person(world, role)).bearer
    replies = [
        await http.get("/v1/jobs", headers=headers),
        await http.post("/v1/jobs", json={"engine": "csm", "input": {"text": "x"}}, headers=headers),
        await http.post("/v1/workers/w-1/stop", headers=headers),
        await http.put("/v1/policy", json={}, headers=headers),
    ]
    assert [reply.status_code for reply in replies] == allowed


async def test_workers_are_listed_drained_paused_and_stopped(world):
    agent = await world.agent()
    (shown,) = (await world.http.get("/v1/workers")).json()["items"]
    assert (shown["id"], shown["state"], shown["busy"]) == (agent.id, "ready", 0)
    await world.submit()
    assert (await world.http.post(f"/v1/workers/{agent.id}/pause")).json()["paused"] is True
    assert await agent.claim() is None
    await world.http.post(f"/v1/workers/{agent.id}/resume")
    assert await agent.claim() is not None
    assert (await world.http.post(f"/v1/workers/{agent.id}/drain")).json()["state"] == "draining"
    assert (await world.http.post(f"/v1/workers/{agent.id}/stop")).json()["state"] == "stopping"
    assert (await world.http.post("/v1/workers/w-nonesuch/stop")).status_code == 404


async def test_a_worker_costs_from_its_lease_on(world):
    agent = await world.agent()
    world.clock.advance(1800)
    costs = (await world.http.get("/v1/costs")).json()
    assert costs["usd_total"] == pytest.approx(0.18)
    assert costs["by_provider"] == [{"provider": "test", "usd": pytest.approx(0.18)}]
    assert costs["leases"][0]["worker_id"] == agent.id


async def test_the_policy_is_checked_stored_and_shown(world):
    assert (await world.http.get("/v1/policy")).json()["name"] == "whatif"
    reply = await world.http.put("/v1/policy", json={"name": "fixed", "idle_s": 120})
    assert reply.json()["idle_s"] == 120
    assert (await world.http.get("/v1/policy")).json()["name"] == "fixed"
    for wrong in ({"idle_s": -1}, {"name": "nonesuch"}, {"colour": "red"}):
        refused = await world.http.put("/v1/policy", json=wrong)
        assert refused.status_code == 422, wrong
        assert refused.json()["errors"]


async def test_probes_and_metrics_answer(world):
    await world.submit()
    await world.orchestrator.parts.reconciler.step()
    for path in ("/livez", "/readyz", "/healthz", "/health", "/"):
        assert (await world.http.get(path)).status_code == 200
    metrics = (await world.http.get("/metrics")).text
    assert 'gpulease_jobs_queued{engine="csm"} 1.0' in metrics


async def test_the_catalogue_has_schemas_and_says_what_runs(world):
    await world.agent()
    engines = {row["name"]: row for row in (await world.http.get("/v1/engines")).json()["items"]}
    assert engines["csm"]["available"]
    assert not engines["video"]["available"]
    assert "monologue" in engines["csm"]["input_schema"]["properties"]


@pytest.mark.slow
async def test_two_thousand_submits_at_once_are_all_kept(world):
    body = {"engine": "csm", "input": {"text": "x"}}
    replies = await asyncio.gather(*(world.http.post("/v1/jobs", json=body) for _ in range(2000)))
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json()["id"] for reply in replies}) == 2000
    fleet = await world.orchestrator.parts.store.read_fleet()
    assert sum(group.count for group in fleet.groups) == 2000

"""Owners' machines: they enrol with a key, come and go, and are preferred while they are there."""

import asyncio

import pytest
from api_world import TTS, World, settings, world

from orchestrator.keys import owner_key
from orchestrator.settings import Settings
from provider_clients.buffer import Buffer

__all__ = ["settings", "world"]
ENROLMENT = {"X-Internal-API-Key": "shared-secret"}
BEAT = {"status": "idle", "gpu_class": "RTX-local-buffer", "capacity": 1, "error": None}
SEED_PATH = "/internal/buffer/workers/{}/heartbeat"


@pytest.fixture
def settings(tmp_path):  # noqa: F811  With an enrolment key.
    return Settings(
        data=tmp_path,
        providers=("buffer",),
        INTERNAL_API_KEY="shared-secret",
        reconcile_period_s=3600,
        health_period_s=3600,
        _env_file=None,
    )


async def shown(world: World, worker_id: str):
    items = (await world.http.get("/v1/workers")).json()["items"]
    return next((one for one in items if one["id"] == worker_id), None)


async def register(world: World, worker_id: str, headers=ENROLMENT, **said):
    body = {"incarnation": "incarnation-1", "engines": [TTS], **said}
    return await world.http.post(f"/internal/workers/{worker_id}/register", json=body, headers=headers)


async def test_the_first_generations_heartbeat_works_unchanged(world: World):
    reply = await world.http.post(SEED_PATH.format("buffer-1"), json=BEAT, headers=ENROLMENT)
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
    worker = await shown(world, "buffer-1")
    assert (worker["provider"], worker["state"], worker["gpu_class"]) == (
        "buffer",
        "ready",
        "RTX-local-buffer",
    )
    assert worker["engines"] == []


@pytest.mark.parametrize("headers", [{}, {"X-Internal-API-Key": "wrong"}])
async def test_a_heartbeat_without_the_key_enrols_nobody(world: World, headers):
    reply = await world.http.post(SEED_PATH.format("buffer-1"), json=BEAT, headers=headers)
    assert reply.status_code == 401
    assert await shown(world, "buffer-1") is None


@pytest.mark.parametrize("name", ["w-0123456789ab", "static-one", "-x", "a" * 65, "a b"])
async def test_some_names_are_not_an_owners_to_take(world: World, name):
    assert (await register(world, name)).status_code == 401


async def test_a_machine_takes_a_job_and_costs_nothing(world: World):
    assert (await register(world, "home", usd_per_hour=0.0)).status_code == 200
    job = await world.submit()
    claim = {"incarnation": "incarnation-1", "nonce": "nonce-0001", "wait_s": 0}
    reply = await world.http.post("/internal/workers/home/claim", json=claim, headers=ENROLMENT)
    assert reply.json()["assignment"]["job_id"] == job["id"]
    assert (await world.http.get("/v1/leases")).json() == {"items": [], "usd_total": 0.0}


async def test_an_owners_price_is_for_the_time_it_works(world: World):
    await register(world, "home", usd_per_hour=3.6)
    job = await world.submit()
    claim = {"incarnation": "incarnation-1", "nonce": "nonce-0001", "wait_s": 0}
    given = (await world.http.post("/internal/workers/home/claim", json=claim, headers=ENROLMENT)).json()
    world.clock.advance(10.0)
    report = {"incarnation": "incarnation-1", "result": {"backend": "test", "text": "done"}}
    path = f"/internal/workers/home/attempts/{given['assignment']['attempt']}/finish"
    assert (await world.http.post(path, json=report, headers=ENROLMENT)).status_code == 200
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["cost_usd"] == pytest.approx(0.01)


async def test_one_with_a_key_of_its_own_no_longer_takes_the_shared_one(world: World):
    await register(world, "home")
    own = owner_key(world.orchestrator.parts.applier.leases.deployment.secret, "home")
    assert (await register(world, "home", {"X-Internal-API-Key": own})).status_code == 200
    assert (await register(world, "home")).status_code == 401
    other = owner_key(world.orchestrator.parts.applier.leases.deployment.secret, "another")
    assert (await register(world, "home", {"X-Internal-API-Key": other})).status_code == 401


async def test_an_offline_machine_loses_its_job_to_others_and_comes_back(world: World):
    await register(world, "home")
    job = await world.submit()
    claim = {"incarnation": "incarnation-1", "nonce": "nonce-0001", "wait_s": 0}
    await world.http.post("/internal/workers/home/claim", json=claim, headers=ENROLMENT)
    world.clock.advance(46.0)
    await world.orchestrator.parts.reconciler.step()
    found = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert (found["status"], found["attempts"][0]["state"]) == ("queued", "lost")
    assert (await shown(world, "home"))["state"] == "ready"
    beat = {**BEAT, "incarnation": "incarnation-1"}
    assert (await world.http.post(SEED_PATH.format("home"), json=beat, headers=ENROLMENT)).status_code == 200


async def test_one_that_says_goodbye_is_gone_and_may_return(world: World):
    await register(world, "home")
    beat = {"incarnation": "incarnation-1", "status": "leaving", "attempts": []}
    assert (await world.http.post(SEED_PATH.format("home"), json=beat, headers=ENROLMENT)).status_code == 200
    assert (await shown(world, "home"))["state"] == "draining"
    await world.orchestrator.parts.reconciler.step()
    await world.orchestrator.parts.loops.stop()
    assert await shown(world, "home") is None
    assert (await register(world, "home", incarnation="incarnation-2")).status_code == 200
    assert (await shown(world, "home"))["state"] == "ready"


async def test_it_never_idles_out(world: World):
    await register(world, "home")
    world.clock.advance(40.0)
    await world.orchestrator.parts.reconciler.step()
    assert (await shown(world, "home"))["state"] == "ready"
    listed = await Buffer(world.orchestrator.parts.agents.roster).list()
    assert [one.id for one in listed] == ["home"]


async def test_a_machine_that_its_owner_paused_gets_nothing_until_it_resumes(world: World):
    await register(world, "home")
    claim = {"incarnation": "incarnation-1", "nonce": "nonce-0001", "wait_s": 30}
    path = "/internal/workers/home/claim"
    parked = asyncio.create_task(world.http.post(path, json=claim, headers=ENROLMENT))
    while not world.orchestrator.parts.dispatcher.parked():
        await asyncio.sleep(0.01)
    beat = {"incarnation": "incarnation-1", "status": "paused", "attempts": []}
    await world.http.post(SEED_PATH.format("home"), json=beat, headers=ENROLMENT)
    assert (await parked).json()["assignment"] is None
    await world.submit()
    snapshot, _ = await world.orchestrator.parts.reconciler._observer.observe()
    assert [one.paused for one in snapshot.workers] == [True]
    beat["status"] = "idle"
    await world.http.post(SEED_PATH.format("home"), json=beat, headers=ENROLMENT)
    assert (await world.http.post(path, json=claim, headers=ENROLMENT)).json()["assignment"] is not None


async def test_what_a_leaving_machine_still_had_goes_to_others_at_once(world: World):
    await register(world, "home")
    job = await world.submit()
    claim = {"incarnation": "incarnation-1", "nonce": "nonce-0001", "wait_s": 0}
    await world.http.post("/internal/workers/home/claim", json=claim, headers=ENROLMENT)
    beat = {"incarnation": "incarnation-1", "status": "leaving", "attempts": []}
    await world.http.post(SEED_PATH.format("home"), json=beat, headers=ENROLMENT)
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "queued"

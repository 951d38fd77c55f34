"""/v1/providers, /v1/leases, and what hosts and Salad ask of us."""

import pytest
from api_world import World, settings, world

from orchestrator.keys import host_key
from orchestrator.store.rows import Enrolment, InstanceFacts, Lease
from provider_clients.base import Receipt
from provider_clients.fake import FakeCloud
from scaling.snapshot import Capability, Offer

__all__ = ["settings", "world"]
OFFER = Offer("fake", "a10", 1.0, (Capability("csm", "fake"),))


@pytest.fixture
async def cloud(world: World):
    """A cloud that is for sale, added to what was configured."""
    cloud = FakeCloud(offered=(OFFER,), clock=world.clock.now)
    leases = world.orchestrator.parts.applier.leases
    leases.providers["fake"] = leases.market._providers["fake"] = cloud
    await leases.market.refresh()
    return cloud


async def test_a_provider_says_what_it_has_and_what_it_lacks(world: World, cloud):
    [item] = (await world.http.get("/v1/providers")).json()["items"]
    assert (item["name"], item["configured"], item["enabled"], item["fault"]) == ("fake", True, True, None)
    assert item["offers"][0]["gpu_class"] == "a10"
    world.orchestrator.parts.missing["salad"] = ("SALAD_API_KEY",)
    items = (await world.http.get("/v1/providers")).json()["items"]
    assert [(one["name"], one["configured"], one["missing"]) for one in items[1:]] == [
        ("salad", False, ["SALAD_API_KEY"])
    ]


async def test_a_disabled_provider_sells_nothing_until_it_is_enabled(world: World, cloud):
    job = await world.submit()
    assert (await world.http.post("/v1/providers/fake/disable")).json()["enabled"] is False
    await world.orchestrator.parts.reconciler.step()
    assert (await world.http.get("/v1/workers")).json()["items"] == []
    shown = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert "enable a provider" in shown["blocked"]
    assert (await world.http.post("/v1/providers/fake/enable")).json()["enabled"] is True
    world.clock.advance(60.0)
    await world.orchestrator.parts.reconciler.step()
    assert len((await world.http.get("/v1/workers")).json()["items"]) == 1


async def test_an_unknown_provider_is_a_404_that_names_the_others(world: World, cloud):
    reply = await world.http.post("/v1/providers/nope/disable")
    assert reply.status_code == 404
    assert "fake" in reply.json()["detail"]


async def test_the_ledger_shows_leases_and_the_share_of_each_job(world: World):
    agent = await world.agent()
    job = await world.submit()
    given = await agent.claim()
    world.clock.advance(36.0)
    await agent.finish(given)
    ledger = (await world.http.get("/v1/leases")).json()
    [lease] = ledger["items"]
    assert (lease["worker_id"], lease["ended_at"]) == (agent.id, None)
    assert ledger["usd_total"] == pytest.approx(lease["usd"]) == pytest.approx(0.0036)
    one = (await world.http.get(f"/v1/leases/{agent.id}")).json()
    assert [(part["job_id"], part["usd"]) for part in one["jobs"]] == [(job["id"], pytest.approx(0.0036))]
    await world.orchestrator.parts.store.note_receipt(agent.id, Receipt(1.8e9, 1.8e9 + 72.0, 72.0))
    assert (await world.http.get("/v1/leases")).json()["usd_total"] == pytest.approx(0.0072)
    assert (await world.http.get("/v1/leases/nobody")).status_code == 404


async def test_an_orphans_lease_is_in_the_ledger(world: World):
    now = world.clock.now()
    lease = Lease("orphan-i9", "fake", "a10", 3.6, now - 100.0, now, 1.0, 0.0, 0.0, 100.0, "i9")
    await world.orchestrator.parts.store.record_lease(lease)
    assert (await world.http.get("/v1/leases")).json()["usd_total"] == pytest.approx(0.1)
    assert (await world.http.get("/v1/costs")).json()["usd_total"] == pytest.approx(0.1)
    assert (await world.http.get("/v1/leases/orphan-i9")).json()["jobs"] == []


async def test_a_host_hears_of_its_duties_with_its_own_key(world: World):
    parts = world.orchestrator.parts
    parts.hosting.environments = {"static": {}}
    await parts.store.enrol_worker(Enrolment("static-one", "static", "hash", world.clock.now()))
    await parts.store.note_instance("static-one", InstanceFacts("one", address="http://10.0.0.9:5001"))
    path = "/internal/hosts/static/duties"
    assert (await world.http.get(path)).status_code == 401
    other = host_key(parts.hosting.deployment.secret, "comput3")
    assert (await world.http.get(path, headers={"X-Internal-API-Key": other})).status_code == 401
    key = host_key(parts.hosting.deployment.secret, "static")
    [duty] = (await world.http.get(path, headers={"X-Internal-API-Key": key})).json()["duties"]
    assert (duty["worker_id"], duty["address"]) == ("static-one", "http://10.0.0.9:5001")
    parts.hosting.tell("static", "job-9")
    assert (await world.http.get(path, headers={"X-Internal-API-Key": key})).json()["news"] == ["job-9"]


async def test_nobody_listens_for_salad_where_it_is_not_configured(world: World):
    assert (await world.http.post("/internal/salad/webhook", json={})).status_code == 404

"""Owners' machines: they enrol by themselves, cost no lease, go like others, and may come again."""

import pytest
import store_world
from store_world import (
    HOST_FAULT,
    W,
    begun,
    claim,
    enrolment,
    finish,
    job_of,
    move,
    new_worker,
    ready,
    registration,
    retire,
    submit,
    worker_of,
)

from orchestrator.store import rows
from provider_clients.base import Receipt
from scaling.states import JobState

store = store_world.store


async def serving(store, worker_id="o1", *, at=0.0, **wanted):
    assert await store.enrol_worker(enrolment(worker_id, at=at))
    assert await store.register_worker(worker_id, registration(**wanted), now=at + 1)


async def test_an_owners_machine_starts_without_being_bought(store):
    assert await store.enrol_worker(enrolment(at=5.0, gpu_class="l4", usd_per_hour=0.25))
    worker = await worker_of(store, "o1")
    assert (worker.state, worker.owned, worker.provider) == (W.STARTING, True, "buffer")
    assert (worker.intended_at, worker.state_at, worker.buy_at, worker.creating_at) == (5.0, 5.0, 5.0, None)
    assert (worker.gpu_class, worker.usd_per_hour, worker.key_hash) == ("l4", 0.25, "h")
    [event] = await store.list_events(worker_id="o1")
    assert (event.kind, event.before, event.after, event.reason) == ("worker", None, "starting", "enrolled")
    assert (await store.read_fleet()).workers == (worker,)


async def test_the_heartbeat_of_a_machine_that_never_named_its_incarnation_counts(store):
    await store.enrol_worker(enrolment())
    await store.move_worker("o1", move(W.READY, W.STARTING), now=1.0)
    assert await store.record_beats([rows.Beat("o1", None, 2.0)]) == {"o1": True}
    assert await store.record_beats([rows.Beat("o1", "i1", 3.0)]) == {"o1": False}
    assert (await worker_of(store, "o1")).heartbeat_at == 2.0


@pytest.mark.parametrize("provider", ["buffer", "static"])
async def test_an_id_that_is_alive_is_not_enrolled_again(store, provider):
    await store.enrol_worker(enrolment())
    before = await worker_of(store, "o1")
    assert not await store.enrol_worker(enrolment(provider=provider, at=9.0, key_hash="other"))
    assert await worker_of(store, "o1") == before
    assert len(await store.list_events(worker_id="o1")) == 1


async def test_nobody_takes_the_id_of_a_leased_worker_or_of_another_provider(store):
    await ready(store)
    await retire(store, at=5.0)
    await serving(store)
    await retire(store, "o1", at=5.0)
    assert not await store.enrol_worker(enrolment("w1", provider="local", at=9.0))
    assert not await store.enrol_worker(enrolment("o1", provider="static", at=9.0))
    assert (await worker_of(store)).state is (await worker_of(store, "o1")).state is W.GONE


async def test_it_never_has_a_lease_nor_a_boot_time(store):
    await submit(store)
    await serving(store)
    await finish(store, await begun(store, "o1", at=3.0))
    await store.note_instance("o1", rows.InstanceFacts("self"))
    await store.note_receipt("o1", Receipt(1.0, 2.0, 1.0))
    await retire(store, "o1", at=20.0)
    assert await store.list_leases(since=0.0) == []
    assert (await store.read_fleet()).boot == ()
    worker = await worker_of(store, "o1")
    assert (worker.lease_from, worker.lease_until, worker.jobs_done) == (None, None, 1)


async def test_its_job_is_queued_again_when_it_stops(store):
    job = await submit(store)
    await serving(store)
    held = await begun(store, "o1", at=3.0)
    await store.move_worker("o1", move(W.STOPPING, W.READY), now=4.0)
    again = await job_of(store, job.id)
    assert (again.state, again.need.avoid) == (JobState.QUEUED, ("o1",))
    assert await finish(store, held) is rows.Verdict.STALE
    assert not await store.enrol_worker(enrolment(at=5.0))
    assert await store.move_worker("o1", move(W.GONE, W.STOPPING), now=6.0)


async def test_one_that_is_gone_begins_anew(store):
    await submit(store)
    await serving(store, gpu_class="l4", capacity=3)
    await store.record_beats([rows.Beat("o1", "i1", 2.0, ("csm/small",), "hot")])
    await store.note_instance("o1", rows.InstanceFacts("self", 9_000.0, "http://o1", "h1"))
    await store.note_probe("o1", healthy=False)
    await finish(store, await begun(store, "o1", at=3.0), fault=HOST_FAULT)
    await store.pause_worker("o1", paused=True, who="ops", now=4.0)
    await retire(store, "o1", at=5.0)
    assert await store.enrol_worker(enrolment(at=50.0, key_hash="h2", usd_per_hour=0.5))
    assert await worker_of(store, "o1") == rows.Worker(
        id="o1",
        provider="buffer",
        gpu_class="cpu",
        state=W.STARTING,
        usd_per_hour=0.5,
        state_at=50.0,
        intended_at=50.0,
        buy_at=50.0,
        key_hash="h2",
        boot_billed=False,
        jobs_done=1,
        paused=True,
        owned=True,
    )
    last = (await store.list_events(worker_id="o1"))[-1]
    assert (last.at, last.kind, last.before, last.after) == (50.0, "worker", None, "starting")
    assert last.reason == "enrolled again"


async def test_what_an_old_life_said_is_stale_in_the_new_one(store):
    await serving(store)
    await retire(store, "o1", at=5.0)
    await store.enrol_worker(enrolment(at=50.0))
    assert await store.record_beats([rows.Beat("o1", "i1", 51.0)]) == {"o1": False}
    assert await store.register_worker("o1", registration("i2"), now=52.0)
    await submit(store)
    assert await claim(store, "o1", incarnation="i1", at=53.0) is None
    assert await claim(store, "o1", incarnation="i2", at=53.0) is not None


async def test_only_an_owner_says_the_price(store):
    await serving(store, usd_per_hour=0.75)
    await ready(store, usd_per_hour=9.0)
    prices = [(await worker_of(store, one)).usd_per_hour for one in ("o1", "w1")]
    assert prices == [0.75, 1.0]
    await store.register_worker("o1", registration("i2"), now=9.0)
    assert (await worker_of(store, "o1")).usd_per_hour == 0.75


async def test_a_key_is_changed_without_touching_anything_else(store):
    await serving(store)
    await store.rekey_worker("o1", "new")
    await store.rekey_worker("nope", "new")
    assert (await worker_of(store, "o1")).key_hash == "new"
    assert (await worker_of(store, "o1")).state is W.READY


async def test_it_is_forgotten_only_when_it_is_gone(store):
    await serving(store)
    await store.enrol_worker(enrolment("o2"))
    await retire(store, "o2", at=5.0)
    assert (await store.purge(finished_before=1e6, now=1e6)).workers == 1
    assert await store.get_worker("o2") is None
    assert (await worker_of(store, "o1")).state is W.READY
    assert await store.enrol_worker(enrolment("o2", provider="static", at=9.0))
    assert (await worker_of(store, "o2")).jobs_done == 0


async def test_a_worker_that_was_bought_is_not_owned(store):
    await store.intend_worker(new_worker())
    await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=7.0)
    worker = await worker_of(store)
    assert (worker.owned, worker.creating_at) == (False, 7.0)

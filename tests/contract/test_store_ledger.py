"""Webhooks, settings, and what is forgotten."""

from dataclasses import replace

import pytest
import store_world
from store_world import JOB_FAULT, W, begun, finish, job_of, move, ready, submit

from orchestrator.store import people, rows

store = store_world.store
HOOK = "https://example.org/hook"
UPLOAD = people.Upload("u1", "ann", "a.wav", "up/u1", 5, "00", "audio/wav", 1.0, 100.0)


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "expired", "timed_out"])
async def test_every_end_of_a_job_is_told(store, end):
    job = await submit(store, notify_url=HOOK)
    if end in ("succeeded", "failed", "timed_out"):
        await ready(store)
        held = await begun(store)
    assert await store.list_deliveries(job.id) == []
    match end:
        case "succeeded":
            await finish(store, held, at=9.0)
        case "failed":
            await finish(store, held, fault=JOB_FAULT, at=9.0)
        case "cancelled":
            await store.cancel_job(job.id, who="a", reason="b", now=9.0)
        case "expired" | "timed_out":
            await store.end_overdue_jobs(now=9999.0)
    job = await job_of(store, job.id)
    assert job.state.value == end
    [delivery] = await store.list_deliveries(job.id)
    assert (delivery.job_id, delivery.url, delivery.tries, delivery.due_at) == (
        job.id,
        HOOK,
        0,
        job.finished_at,
    )
    assert await store.due_deliveries(now=job.finished_at, limit=9) == [delivery]


async def test_a_job_without_a_notify_url_tells_nobody(store):
    job = await submit(store)
    await store.cancel_job(job.id, who="a", reason="b", now=9.0)
    assert await store.due_deliveries(now=1e9, limit=9) == []


async def delivery_of(store):
    job = await submit(store, notify_url=HOOK)
    await store.cancel_job(job.id, who="a", reason="b", now=10.0)
    [delivery] = await store.list_deliveries(job.id)
    return delivery


async def test_a_delivery_that_arrived_is_done(store):
    delivery = await delivery_of(store)
    await store.record_delivery(delivery.id, status=200, error=None, now=11.0, next_at=None)
    done = replace(delivery, tries=1, done_at=11.0)
    assert await store.list_deliveries(delivery.job_id) == [done]
    assert await store.due_deliveries(now=1e9, limit=9) == []
    await store.record_delivery(delivery.id, status=500, error="late", now=12.0, next_at=13.0)
    assert await store.list_deliveries(delivery.job_id) == [done]


async def test_a_delivery_that_failed_is_due_again_until_it_is_given_up(store):
    delivery = await delivery_of(store)
    await store.record_delivery(delivery.id, status=302, error="a redirect", now=11.0, next_at=16.0)
    assert await store.due_deliveries(now=15.9, limit=9) == []
    [again] = await store.due_deliveries(now=16.0, limit=9)
    assert again == replace(delivery, tries=1, due_at=16.0, last_error="a redirect")
    await store.record_delivery(delivery.id, status=None, error="no answer", now=17.0, next_at=None)
    assert await store.due_deliveries(now=1e9, limit=9) == []
    [given_up] = await store.list_deliveries(delivery.job_id)
    assert (given_up.tries, given_up.done_at, given_up.last_error) == (2, 17.0, "no answer")
    await store.record_delivery(99, status=200, error=None, now=1.0, next_at=None)


async def test_due_deliveries_are_oldest_first_and_limited(store):
    made = [await delivery_of(store) for _ in range(3)]
    await store.record_delivery(made[0].id, status=500, error="x", now=11.0, next_at=20.0)
    due = await store.due_deliveries(now=30.0, limit=2)
    assert [one.id for one in due] == [made[1].id, made[2].id]


async def test_settings(store):
    assert await store.read_setting("policy") is None
    await store.write_setting("policy", {"idle_s": 1}, who="ops", now=1.0)
    await store.write_setting("policy", {"idle_s": 2.5, "name": "fixed"}, who="ops", now=2.0)
    assert await store.read_setting("policy") == {"idle_s": 2.5, "name": "fixed"}
    events = [(one.kind, one.who, one.data) for one in await store.list_events()]
    assert events == [("setting", "ops", {"name": "policy"})] * 2


async def test_what_is_old_is_forgotten_with_all_that_hangs_on_it(store):
    await ready(store)
    old = await submit(store, notify_url=HOOK, idempotency_key="k")
    await finish(store, await begun(store), at=10.0)
    [delivery] = await store.due_deliveries(now=10.0, limit=1)
    await store.record_delivery(delivery.id, status=500, error="x", now=11.0, next_at=12.0)
    kept = await submit(store)
    await finish(store, await begun(store, at=19.0), at=20.0)
    waiting = await submit(store, model="small")
    await store.add_upload(UPLOAD)
    await store.add_upload(replace(UPLOAD, id="u2", key="up/u2", expires_at=101.0))
    purged = await store.purge(finished_before=20.0, now=100.0)
    assert purged == rows.Purged(keys=("k/a.wav", "up/u1"), job_ids=(old.id,), workers=0)
    assert await store.get_job(old.id) is None
    assert await store.list_attempts(old.id) == []
    assert await store.list_events(job_id=old.id) == []
    assert await store.list_deliveries(old.id) == []
    assert await store.due_deliveries(now=1e9, limit=9) == []
    assert await store.get_upload("u1") is None
    assert await store.get_upload("u2") is not None
    assert (await job_of(store, kept.id)).result is not None
    assert (await store.read_fleet()).groups[0].need == waiting.need
    assert await store.purge(finished_before=20.0, now=100.0) == rows.Purged((), (), 0)
    [again] = await store.submit_jobs([store_world.new_job(idempotency_key="k")])
    assert again.created


async def test_workers_long_gone_are_forgotten_but_what_they_cost_is_not(store):
    job = await submit(store)
    await ready(store)
    await finish(store, await begun(store, at=1.0), at=4.0)
    await store.move_worker("w1", move(W.STOPPING, W.READY), now=5.0)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=6.0)
    assert (await store.purge(finished_before=6.0, now=7.0)).workers == 0
    purged = await store.purge(finished_before=6.5, now=7.0)
    assert (purged.workers, purged.job_ids) == (1, ())
    assert await store.get_worker("w1") is None
    assert await store.list_events(worker_id="w1") == []
    [lease] = await store.list_leases(since=0.0)
    assert (lease.worker_id, lease.ended_at, lease.busy_s) == ("w1", 6.0, 3.0)
    assert await store.get_job(job.id) is None


async def test_at_most_a_thousand_jobs_are_forgotten_at_once(store):
    await store.submit_jobs([store_world.new_job() for _ in range(1_001)])
    for _ in range(2):
        await store.end_overdue_jobs(now=1e6)
    counts = [len((await store.purge(finished_before=1e9, now=0.0)).job_ids) for _ in range(3)]
    assert counts == [1_000, 1, 0]

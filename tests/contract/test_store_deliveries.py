"""Webhooks as they are listed, looked into and replayed."""

from dataclasses import replace

import store_world
from store_world import BY, audit_of, submit

from orchestrator.store import rows
from orchestrator.store.people import AuditFilter

store = store_world.store
HOOK = "https://example.org/hook"
State = rows.DeliveryState


async def told(store, owner="ann", at=10.0):
    """The delivery of a job that was cancelled."""
    job = await submit(store, owner=owner, notify_url=HOOK)
    await store.cancel_job(job.id, who="a", reason="b", now=at)
    [delivery] = await store.list_deliveries(job.id)
    return delivery


async def test_a_delivery_is_its_jobs_owners(store):
    delivery = await told(store)
    assert (delivery.owner, delivery.created_at) == ("ann", 10.0)
    assert await store.get_delivery(delivery.id) == delivery
    assert await store.get_delivery(99) is None


async def test_no_delivery_has_a_number_that_no_database_could_hold(store):
    for number in (2**63, 2**80, -(2**80)):
        assert await store.get_delivery(number) is None
        assert await store.list_delivery_tries(number) == []
        assert await store.replay_delivery(number, by=BY, now=1.0) is None
    await told(store)
    assert await store.list_deliveries(after=2**80) == []
    assert await store.list_audit(AuditFilter(), after=2**80) == []


async def test_deliveries_are_listed_by_owner_and_by_state(store):
    made = [await told(store, owner) for owner in ("ann", "bob", "ann")]
    await store.record_delivery(made[0].id, status=200, error=None, now=11.0, next_at=None)
    await store.record_delivery(made[1].id, status=500, error="broken", now=11.0, next_at=None)

    async def ids(**which):
        return [one.id - made[0].id for one in await store.list_deliveries(**which)]

    assert await ids() == [0, 1, 2]
    assert await ids(owner="ann") == [0, 2]
    assert await ids(owner="ann", state=State.PENDING) == [2]
    assert await ids(state=State.ARRIVED) == [0]
    assert await ids(state=State.FAILED) == [1]
    assert await ids(owner="ann", state=State.FAILED) == []
    assert await ids(after=made[0].id, limit=1) == [1]


async def test_every_try_is_kept(store):
    delivery = await told(store)
    await store.record_delivery(delivery.id, status=None, error="no reply", now=11.0, next_at=16.0)
    await store.record_delivery(delivery.id, status=200, error=None, now=16.0, next_at=None)
    assert await store.list_delivery_tries(delivery.id) == [
        rows.DeliveryTry(11.0, None, "no reply"),
        rows.DeliveryTry(16.0, 200, None),
    ]
    assert await store.list_delivery_tries(99) == []


async def test_a_delivery_is_replayed_under_its_own_id(store):
    delivery = await told(store)
    await store.record_delivery(delivery.id, status=500, error="broken", now=11.0, next_at=None)
    again = await store.replay_delivery(delivery.id, by=BY, now=50.0)
    assert again == replace(delivery, due_at=50.0)
    assert await store.due_deliveries(now=49.0, limit=9) == []
    assert await store.due_deliveries(now=50.0, limit=9) == [again]
    await store.record_delivery(delivery.id, status=200, error=None, now=51.0, next_at=None)
    assert len(await store.list_delivery_tries(delivery.id)) == 2
    assert await store.replay_delivery(99, by=BY, now=50.0) is None
    [row] = await audit_of(store)
    assert (row.what, row.target, row.before["tries"], row.after["tries"]) == (
        "delivery.replay",
        str(delivery.id),
        1,
        0,
    )


async def test_one_that_arrived_may_be_replayed_too(store):
    delivery = await told(store)
    await store.record_delivery(delivery.id, status=200, error=None, now=11.0, next_at=None)
    assert await store.replay_delivery(delivery.id, by=None, now=20.0) is not None
    assert [one.id for one in await store.due_deliveries(now=20.0, limit=9)] == [delivery.id]
    assert await audit_of(store) == []


async def test_the_tries_of_a_forgotten_job_are_forgotten(store):
    delivery = await told(store)
    await store.record_delivery(delivery.id, status=500, error="broken", now=11.0, next_at=None)
    await store.forget_job(delivery.job_id, now=12.0)
    assert await store.get_delivery(delivery.id) is None
    assert await store.list_delivery_tries(delivery.id) == []

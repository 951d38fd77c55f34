"""Webhooks that are put off: due later or given up, without a try."""

from dataclasses import replace

import pytest
import store_world
from store_world import BY, submit

from orchestrator.store.rows import DeliveryState

store = store_world.store


@pytest.fixture
async def delivery(store):
    return await told(store)


async def told(store, at=10.0):
    job = await submit(store, owner="ann", notify_url="https://example.org/hook")
    await store.cancel_job(job.id, who="a", reason="b", now=at)
    (found,) = await store.list_deliveries(job.id)
    return found


async def put_off(store, delivery, now, until, reason):
    await store.put_off_deliveries([delivery.id], until=until, reason=reason, now=now)
    return await store.get_delivery(delivery.id)


async def test_it_is_due_later_and_counts_no_try(store, delivery):
    other = await told(store)
    await store.put_off_deliveries([delivery.id, 99], until=50.0, reason=None, now=20.0)
    assert await store.get_delivery(delivery.id) == replace(delivery, due_at=50.0)
    assert await store.due_deliveries(now=49.0, limit=9) == [other]
    assert await store.list_delivery_tries(delivery.id) == []


async def test_a_reason_is_kept_with_since_when_there_is_one(store, delivery):
    first = await put_off(store, delivery, 20.0, 50.0, "the circuit is open")
    assert first == replace(delivery, due_at=50.0, last_error="the circuit is open", held_since=20.0)
    second = await put_off(store, delivery, 50.0, 90.0, "it still is")
    assert second == replace(first, due_at=90.0, last_error="it still is")
    assert await put_off(store, delivery, 90.0, 95.0, None) == replace(second, due_at=95.0)


async def test_an_answer_or_a_replay_ends_the_wait_and_silence_does_not(store, delivery):
    await put_off(store, delivery, 20.0, 50.0, "open")
    await store.record_delivery(delivery.id, status=None, error="no reply", now=50.0, next_at=55.0)
    assert (await store.get_delivery(delivery.id)).held_since == 20.0
    await store.record_delivery(delivery.id, status=500, error="broken", now=55.0, next_at=60.0)
    assert (await store.get_delivery(delivery.id)).held_since is None
    await put_off(store, delivery, 60.0, 70.0, "open")
    assert (await store.replay_delivery(delivery.id, by=BY, now=65.0)).held_since is None
    assert (await store.get_delivery(delivery.id)).held_since is None


async def test_it_can_be_given_up_without_a_try(store, delivery):
    gone = await put_off(store, delivery, 20.0, None, "3 days")
    assert gone == replace(delivery, done_at=20.0, last_error="3 days", held_since=20.0)
    assert await store.list_deliveries(state=DeliveryState.FAILED) == [gone]
    assert await put_off(store, delivery, 30.0, 40.0, "later") == gone, "what is done stays so"

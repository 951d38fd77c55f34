"""What the clouds say: instances, hard ends of leases, receipts, orphans' bills, hosts that failed."""

from dataclasses import replace

import pytest
import store_world
from store_world import (
    HOST_FAULT,
    W,
    begun,
    claim,
    finish,
    job_of,
    move,
    new_worker,
    ready,
    retire,
    submit,
    worker_of,
)

from orchestrator.store import rows
from provider_clients.base import Receipt

store = store_world.store
RECEIPT = Receipt(started_at=12.0, ended_at=58.0, billed_s=46.0)
ORPHAN = rows.Lease("w9", "comput3", "media:fast", 1.0, 5.0, None, 1.0, 0.0, 0.0, instance_id="c-9")
FAULT = rows.HostFault("salad", "m1", "w1", "died", 10.0)


async def creating(store, worker_id="w1", *, at=10.0, **offer):
    await store.intend_worker(new_worker(worker_id, **offer))
    assert await store.move_worker(worker_id, move(W.CREATING, W.INTENDED), now=at)


async def only_lease(store):
    [lease] = await store.list_leases(since=0.0)
    return lease


async def test_what_is_not_said_of_an_instance_stays(store):
    await creating(store)
    await store.note_instance("w1", rows.InstanceFacts("i-7", 70.0, "https://n", "m1"))
    await store.note_instance("w1", rows.InstanceFacts("i-8"))
    worker = await worker_of(store)
    assert (worker.instance_id, worker.lease_ends_at) == ("i-8", 70.0)
    assert (worker.address, worker.host_id) == ("https://n", "m1")
    later = rows.InstanceFacts("i-8", lease_ends_at=90.0, host_id="m2")
    await store.move_worker("w1", move(W.STARTING, W.CREATING, instance=later), now=20.0)
    worker = await worker_of(store)
    assert (worker.lease_ends_at, worker.address, worker.host_id) == (90.0, "https://n", "m2")
    assert (await only_lease(store)).instance_id == "i-8"


async def test_nothing_is_noted_of_a_worker_that_is_gone(store):
    await creating(store)
    await store.move_worker("w1", move(W.GONE, W.CREATING), now=11.0)
    await store.note_instance("w1", rows.InstanceFacts("i-7"))
    await store.note_instance("nope", rows.InstanceFacts("i-7"))
    assert (await worker_of(store)).instance_id is None


async def test_a_lease_that_starts_late_names_its_instance_too(store):
    await creating(store, boot_billed=False)
    await store.note_instance("w1", rows.InstanceFacts("i-7"))
    await store.register_worker("w1", store_world.registration(), now=20.0)
    assert (await only_lease(store)).instance_id == "i-7"


async def test_instances_are_known_also_when_their_workers_are_gone(store):
    for number, provider in enumerate(["comput3", "comput3", "salad", "comput3"]):
        await creating(store, f"w{number}", provider=provider)
        if number < 3:
            await store.note_instance(f"w{number}", rows.InstanceFacts(f"c-{number}"))
    await store.move_worker("w1", move(W.STOPPING, W.CREATING), now=20.0)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=21.0)
    assert await store.known_instances("comput3") == {"c-0": "w0", "c-1": "w1"}
    assert await store.known_instances("nobody") == {}


async def test_an_instance_that_two_rows_name_is_the_newer_ones(store):
    for worker_id, at in (("w2", 1.0), ("w1", 2.0)):
        await store.intend_worker(new_worker(worker_id, at=at))
        await store.note_instance(worker_id, rows.InstanceFacts("c-1"))
    assert await store.known_instances("local") == {"c-1": "w1"}


@pytest.mark.parametrize(("max_time_s", "fits"), [(301.0, False), (300.0, True)])
async def test_a_lease_with_a_hard_end_takes_only_what_fits(store, max_time_s, fits):
    """360 s are left at 100 s, and 60 s of them are a margin."""
    await ready(store)
    await store.note_instance("w1", rows.InstanceFacts("i-1", lease_ends_at=460.0))
    job = await submit(store, max_time_s=max_time_s)
    assert job.need.max_time_s == job.max_time_s == max_time_s
    claimed = await claim(store, at=100.0)
    assert (claimed is not None) == fits


async def test_a_job_that_does_not_fit_lets_a_shorter_one_go_first(store):
    await ready(store)
    await store.note_instance("w1", rows.InstanceFacts("i-1", lease_ends_at=460.0))
    await submit(store, priority=9)
    short = await submit(store, max_time_s=120.0)
    assert (await store.peek_next("w1")).id == short.id
    claimed = await claim(store, at=100.0)
    assert claimed is not None
    assert claimed.job.id == short.id


async def test_a_receipt_that_comes_before_the_end_is_not_overwritten_by_it(store):
    await creating(store)
    await store.note_instance("w1", rows.InstanceFacts("i-1"))
    await store.move_worker("w1", move(W.STOPPING, W.CREATING), now=50.0)
    await store.note_receipt("w1", RECEIPT)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=70.0)
    lease = await only_lease(store)
    assert (lease.started_at, lease.ended_at, lease.billed_s) == (12.0, 58.0, 46.0)
    worker = await worker_of(store)
    assert (worker.state_at, worker.lease_from, worker.lease_until) == (70.0, 12.0, 58.0)


async def test_a_receipt_that_comes_after_the_end_corrects_it(store):
    await submit(store)
    await ready(store, at=10.0)
    await finish(store, await begun(store, at=11.0), at=14.0)
    await retire(store, at=60.0)
    await store.note_receipt("w1", RECEIPT)
    lease = await only_lease(store)
    assert (lease.started_at, lease.ended_at, lease.billed_s, lease.busy_s) == (12.0, 58.0, 46.0, 3.0)


async def test_a_receipt_brings_back_a_lease_that_was_voided(store):
    await creating(store, usd_per_hour=2.0, granularity_s=60.0)
    await store.move_worker("w1", move(W.GONE, W.CREATING), now=11.0)
    assert await store.list_leases(since=0.0) == []
    await store.note_receipt("w1", RECEIPT)
    assert await only_lease(store) == rows.Lease(
        "w1", "local", "cpu", 2.0, 12.0, 58.0, 60.0, 0.0, 0.0, billed_s=46.0
    )
    assert (await worker_of(store)).lease_until == 58.0


async def test_a_receipt_before_a_refusal_is_kept(store):
    await creating(store)
    await store.note_receipt("w1", RECEIPT)
    await store.move_worker("w1", move(W.GONE, W.CREATING), now=60.0)
    assert (await only_lease(store)).billed_s == 46.0


async def test_a_receipt_of_an_unbilled_boot_stands_when_the_worker_is_ready(store):
    await creating(store, boot_billed=False)
    await store.note_receipt("w1", RECEIPT)
    await store.register_worker("w1", store_world.registration(), now=60.0)
    assert (await only_lease(store)).started_at == 12.0


async def test_a_receipt_corrects_a_lease_whose_worker_is_forgotten(store):
    await ready(store)
    await retire(store, at=60.0)
    await store.purge(finished_before=100.0, now=100.0)
    await store.note_receipt("w1", RECEIPT)
    await store.note_receipt("nope", RECEIPT)
    assert (await only_lease(store)).billed_s == 46.0


async def test_an_orphan_is_recorded_and_recorded_again(store):
    await store.record_lease(ORPHAN)
    assert await only_lease(store) == ORPHAN
    ended = replace(ORPHAN, ended_at=30.0, billed_s=25.5)
    await store.record_lease(ended)
    assert await only_lease(store) == ended
    assert await store.list_leases(since=30.0) == []
    await store.purge(finished_before=1e6, now=1e6)
    assert await only_lease(store) == ended


async def test_an_orphan_may_bear_the_id_of_a_worker_whose_lease_was_voided(store):
    await creating(store, "w9")
    await store.move_worker("w9", move(W.GONE, W.CREATING), now=11.0)
    await store.record_lease(ORPHAN)
    assert await only_lease(store) == ORPHAN
    assert (await worker_of(store, "w9")).lease_from == 5.0
    await store.note_receipt("w9", RECEIPT)
    assert await only_lease(store) == replace(ORPHAN, started_at=12.0, ended_at=58.0, billed_s=46.0)


async def test_faults_of_hosts_are_kept_once_and_for_a_while(store):
    await store.record_host_fault(replace(FAULT, worker_id="w2", at=20.0))
    await store.record_host_fault(FAULT)
    await store.record_host_fault(replace(FAULT, at=99.0))
    slow = replace(FAULT, reason="slow", at=15.0)
    await store.record_host_fault(slow)
    newer = replace(FAULT, worker_id="w2", at=20.0)
    assert await store.list_host_faults(since=0.0) == [FAULT, slow, newer]
    assert await store.list_host_faults(since=15.0) == [slow, newer]
    await store.purge(finished_before=15.0, now=100.0)
    assert await store.list_host_faults(since=0.0) == [slow, newer]


async def test_a_worker_tells_what_it_ran(store):
    await ready(store)
    await ready(store, "w2")
    one, two, three = [await submit(store, at=float(number)) for number in range(3)]
    await finish(store, await begun(store, at=2.0), fault=HOST_FAULT, at=3.0)
    await begun(store, "w2", at=4.0)
    await begun(store, at=5.0)
    ran = await store.list_worker_attempts("w1")
    assert [(attempt.job_id, attempt.state.value) for attempt in ran] == [
        (one.id, "failed"),
        (two.id, "running"),
    ]
    assert [attempt.job_id for attempt in await store.list_worker_attempts("w2")] == [one.id]
    assert await store.list_worker_attempts("nope") == []
    assert (await job_of(store, three.id)).attempts == 0


async def test_a_creation_that_made_nothing_leaves_no_lease_when_it_is_given_up(store):
    await creating(store)
    await store.move_worker("w1", move(W.STOPPING, W.CREATING), now=70.0)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=90.0)
    assert await store.list_leases(since=0.0) == []


async def test_a_worker_that_served_is_paid_for_whether_or_not_its_instance_was_named(store):
    await creating(store)
    await store.register_worker("w1", rows.Registration("incarnation", (), "cpu", 0.0, 1), now=20.0)
    await store.move_worker("w1", move(W.STOPPING, W.READY), now=70.0)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=90.0)
    assert (await only_lease(store)).ended_at == 90.0


async def test_one_lease_is_had_by_its_workers_id(store):
    assert await store.get_lease("w9") is None
    await store.record_lease(ORPHAN)
    assert await store.get_lease("w9") == ORPHAN

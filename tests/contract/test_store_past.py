"""What is looked back on: plans that are kept, and how finished jobs went; the same in every store."""

import store_world
from store_world import JOB_FAULT, RESULT, begun, finish, ready, submit

from gpulease.contract.jobs import Phase
from orchestrator.store.past import PLANS_KEPT_S, PLANS_MAX, PastJob, PlanRow
from scaling.snapshot import Need

store = store_world.store


async def test_plans_are_listed_newest_first_in_pages_and_by_time(store):
    ids = [await store.record_plan({"n": number}, at=float(number)) for number in range(5)]
    assert ids == sorted(set(ids))
    assert [one.record["n"] for one in await store.list_plans()] == [4, 3, 2, 1, 0]
    first = await store.list_plans(limit=2)
    assert [one.record["n"] for one in first] == [4, 3]
    assert [one.record["n"] for one in await store.list_plans(before=first[-1].id, limit=2)] == [2, 1]
    assert [one.record["n"] for one in await store.list_plans(until=1.5, limit=1)] == [1]
    assert await store.list_plans(until=-1.0) == []
    assert await store.get_plan(ids[2]) == PlanRow(ids[2], 2.0, {"n": 2})
    assert await store.get_plan(2**70) is None


async def test_only_the_latest_plans_are_kept_and_those_of_seven_days(store):
    for number in range(PLANS_MAX + 3):
        await store.record_plan({}, at=float(number))
    kept = await store.list_plans(limit=PLANS_MAX + 3)
    assert (len(kept), kept[-1].at) == (PLANS_MAX, 3.0)
    await store.purge(finished_before=0.0, now=PLANS_KEPT_S + 2000.0)
    assert [one.at for one in await store.list_plans()] == [2002.0, 2001.0, 2000.0]


async def test_a_kept_plan_does_not_change_with_what_it_was_made_from(store):
    record = {"actions": []}
    plan_id = await store.record_plan(record, at=1.0)
    record["actions"].append("later")
    (await store.get_plan(plan_id)).record["actions"].append("later still")
    assert (await store.get_plan(plan_id)).record == {"actions": []}


async def ran(store, *, at, seconds, load=None, **wanted):
    await submit(store, at=at, **wanted)
    metrics = {} if load is None else {"MODEL_LOAD_SEC": load}
    claimed = await begun(store, at=at + 1.0)
    await finish(store, claimed, at=at + 1.0 + seconds, result=RESULT.model_copy(update={"metrics": metrics}))


async def test_finished_work_tells_what_a_replay_needs(store):
    await ready(store)
    await ran(store, at=10.0, seconds=8.0, load=3.0, model="small", start_by=100.0)
    await ran(store, at=30.0, seconds=5.0, load="none", model="small", priority=2)
    (first, second) = await store.finished_work(since=0.0, limit=10)
    assert first == PastJob(
        Need("csm", model="small"), 10.0, 3610.0, 100.0, gpu_class="cpu", service_s=5.0, load_s=3.0
    )
    assert (second.need.priority, second.service_s, second.load_s) == (2, 5.0, None)
    assert await store.finished_work(since=10.5, limit=10) == [second]
    assert await store.finished_work(since=0.0, limit=1) == [second]


async def test_finished_work_leaves_out_what_failed_waits_or_runs(store):
    await ready(store, capacity=4)
    await submit(store)
    await finish(store, await begun(store), fault=JOB_FAULT)
    await submit(store)
    await begun(store, nonce="nonce-2")
    await submit(store)
    assert await store.finished_work(since=0.0, limit=10) == []


async def test_finished_work_ends_where_the_slot_was_freed(store):
    await ready(store)
    await submit(store)
    claimed = await begun(store, at=1.0)
    await store_world.report(store, claimed, Phase.UPLOADING, 1.0, at=4.0)
    await finish(store, claimed, at=9.0)
    (one,) = await store.finished_work(since=0.0, limit=10)
    assert one.service_s == 3.0

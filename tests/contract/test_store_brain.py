"""What plans read of the queue and of the past, and what claims leave to warm workers: the same in every store."""

import pytest
import store_world
from store_world import JOB_FAULT, RESULT, begun, claim, finish, job_of, new_job, ready, report, submit

from gpulease.contract.jobs import Phase
from orchestrator.store import rules
from orchestrator.store.protocol import GROUP_COUNT_MAX
from scaling.place import Patience
from scaling.snapshot import AGES_MAX, Need

store = store_world.store
SMALL = Need("csm", model="small")


async def groups(store):
    return {one.need: one for one in (await store.read_fleet()).groups}


async def test_a_short_group_tells_when_each_of_its_jobs_came(store):
    for at in (5.0, 1.0, 3.0):
        await submit(store, at=at)
    await submit(store, "whisper", at=2.0)
    found = await groups(store)
    assert found[Need("csm")].since == (1.0, 3.0, 5.0)
    assert found[Need("whisper")].since == (2.0,)


@pytest.mark.parametrize("count", [AGES_MAX, AGES_MAX + 1, 100, 256, 257, 1_000])
async def test_a_longer_one_tells_of_those_at_even_ranks(store, count):
    await store.submit_jobs([new_job(at=float(number * 7 % count)) for number in range(count)])
    (found,) = (await groups(store)).values()
    assert len(found.since) == AGES_MAX
    assert found.since == tuple(float(rank) for rank in rules.even_ranks(count))
    assert (found.since[0], found.since[-1]) == (0.0, float(count - 1))
    gaps = {after - before for before, after in zip(found.since, found.since[1:], strict=False)}
    assert max(gaps) - min(gaps) <= 1


async def test_ranks_are_right_among_jobs_that_came_together(store):
    await store.submit_jobs([new_job(at=float(number // 300)) for number in range(600)])
    (found,) = (await groups(store)).values()
    assert found.since == (0.0,) * 16 + (1.0,) * 16


async def test_ranks_go_as_far_as_the_count_does(store):
    await store.submit_jobs([new_job(at=float(number)) for number in range(GROUP_COUNT_MAX + 500)])
    (found,) = (await groups(store)).values()
    assert (found.count, found.since[0], found.since[-1]) == (GROUP_COUNT_MAX, 0.0, GROUP_COUNT_MAX - 1.0)


async def test_what_ever_arrived_is_counted_and_never_less(store):
    assert (await store.read_fleet()).arrived == 0
    jobs = [await submit(store) for _ in range(3)]
    await store.submit_jobs([new_job(idempotency_key="k"), new_job(idempotency_key="k")])
    assert (await store.read_fleet()).arrived == 4
    for job in jobs:
        await store.cancel_job(job.id, who="ann", reason="enough", now=1.0)
        assert await store.forget_job(job.id, now=2.0)
    assert (await store.read_fleet()).arrived == 4
    await submit(store)
    assert (await store.read_fleet()).arrived == 5


async def ran(store, *, seconds, load=None, at=100.0):
    await submit(store, model="small")
    held = await begun(store, at=at)
    metrics = {} if load is None else {"MODEL_LOAD_SEC": load}
    await finish(store, held, result=RESULT.model_copy(update={"metrics": metrics}), at=at + seconds)


async def learned(store):
    fleet = await store.read_fleet()
    return ([one.seconds for one in times] for times in (fleet.service, fleet.load))


async def test_loading_is_learned_apart_from_service(store):
    await ready(store)
    await ran(store, seconds=30.0, load=20.0)
    await ran(store, seconds=11.0, load=0.002)
    await ran(store, seconds=12.0)
    service, load = await learned(store)
    assert service == [(12.0, 11.0, 10.0)]
    assert load == [(20.0,)]
    (row,) = (await store.read_fleet()).load
    assert (row.engine, row.model, row.gpu_class) == ("csm", "small", "cpu")


@pytest.mark.parametrize("said", ["soon", float("nan"), float("inf"), -4.0, 0])
async def test_what_makes_no_sense_as_a_load_is_not_learned(store, said):
    await ready(store)
    await ran(store, seconds=30.0, load=said)
    service, load = await learned(store)
    assert (service, load) == ([(30.0,)], [])


async def test_nothing_loads_longer_than_it_ran(store):
    await ready(store)
    await ran(store, seconds=30.0, load=10**400)
    service, load = await learned(store)
    assert (service, load) == ([(0.0,)], [(30.0,)])


async def test_a_slot_that_was_freed_by_uploading_counts_to_there(store):
    await ready(store)
    await submit(store, model="small")
    held = await begun(store, at=100.0)
    await report(store, held, Phase.UPLOADING, at=130.0)
    told = RESULT.model_copy(update={"metrics": {"MODEL_LOAD_SEC": 25.0}})
    await finish(store, held, result=told, at=500.0)
    service, load = await learned(store)
    assert (service, load) == ([(5.0,)], [(25.0,)])


async def test_only_the_latest_loads_are_kept_and_none_of_what_failed(store):
    await ready(store)
    for number in range(rules.LOAD_TIMES_MAX + 2):
        await ran(store, seconds=100.0, load=float(number + 1))
    await submit(store, model="small")
    await finish(store, await begun(store), fault=JOB_FAULT)
    _, [load] = await learned(store)
    assert load == tuple(float(number) for number in range(rules.LOAD_TIMES_MAX + 2, 2, -1))


async def taken(store, holds, resident=(), *, worker="w1", at=1.0):
    nonce = f"nonce-{worker}-{len(await store.list_worker_attempts(worker))}"
    asked = {"resident": resident, "now": at, "holds": holds}
    claimed = await store.claim_job(worker, "i1", nonce, **asked)
    return claimed.job.id if claimed else None


async def test_held_jobs_are_left_to_workers_that_have_their_model(store):
    jobs = [await submit(store, model="small", at=at) for at in (0.0, 0.5, 0.7)]
    await ready(store, capacity=9)
    holds = {SMALL: 2}
    assert await taken(store, holds) == jobs[0].id
    assert await taken(store, holds) is None
    assert await taken(store, holds, ("csm/large",)) is None
    assert await taken(store, holds, ("csm/small",)) == jobs[1].id
    assert await taken(store, holds) is None
    assert await taken(store, {}) == jobs[2].id


async def test_a_cold_worker_takes_another_need_instead(store):
    await submit(store, model="small", at=0.0)
    other = await submit(store, "csm", model="large", at=0.5)
    await ready(store)
    assert await taken(store, {SMALL: 5}) == other.id


async def test_what_is_past_its_start_is_not_among_those_that_are_held(store):
    """It will never begin, and so none of the two that a warm worker could take is left over."""
    await submit(store, model="small", start_by=1.0)
    jobs = [await submit(store, model="small") for _ in range(2)]
    await ready(store, capacity=9)
    assert await taken(store, {SMALL: 2}, at=5.0) is None
    assert await taken(store, {SMALL: 1}, at=5.0) == jobs[0].id


async def test_the_hint_is_of_what_a_claim_would_get(store):
    job = await submit(store, model="small")
    await ready(store)
    assert (await store.peek_next("w1")).id == job.id
    assert await store.peek_next("w1", holds={SMALL: 1}) is None
    beat = store_world.rows.Beat("w1", "i1", 2.0, ("csm/small",))
    assert await store.record_beats([beat]) == {"w1": True}
    assert (await store.peek_next("w1", holds={SMALL: 1})).id == job.id


async def test_a_job_that_waited_past_the_patience_comes_after_those_that_are_in_time(store):
    late = await submit(store, model="small", at=0.0)
    job = await submit(store, model="large", at=30.0)
    await ready(store, capacity=9)
    await store.note_claim("w1", now=40.0)
    assert (await store.peek_next("w1")).id == late.id
    assert (await store.peek_next("w1", patience=Patience(20.0))).id == job.id
    claimed = await store.claim_job("w1", "i1", "nonce-a", resident=(), now=40.0, patience=Patience(20.0))
    assert claimed.job.id == job.id
    claimed = await store.claim_job("w1", "i1", "nonce-b", resident=(), now=40.0, patience=Patience(20.0))
    assert claimed.job.id == late.id


async def test_an_attempt_tells_whether_it_began_with_a_load(store):
    for _ in range(2):
        await submit(store, model="small")
    await ready(store, capacity=9)
    for number, resident in enumerate([("csm/large",), ("csm/small",)]):
        await store.claim_job("w1", "i1", f"nonce-{number}", resident=resident, now=1.0)
    fleet = await store.read_fleet()
    assert [attempt.loads for attempt, _ in fleet.attempts] == [True, False]
    assert [one.loads for one in await store.list_worker_attempts("w1")] == [True, False]


async def test_a_repeated_claim_is_answered_although_its_need_is_held_meanwhile(store):
    job = await submit(store, model="small")
    await ready(store)
    first = await claim(store, nonce="nonce-a")
    again = await store.claim_job("w1", "i1", "nonce-a", resident=(), now=2.0, holds={SMALL: 9})
    assert first == again
    assert (await job_of(store, job.id)).attempts == 1

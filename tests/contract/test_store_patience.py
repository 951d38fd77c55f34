"""Of jobs that are alike a claim takes the first that is in time on its worker: the same in every store."""

import pytest
import store_world
from store_world import HOST_FAULT, begun, finish, ready, submit

from orchestrator.store.protocol import AHEAD_MAX
from scaling.place import STARVED_PATIENCES, Patience, Stay

store = store_world.store
PATIENCE = Patience(20.0, load_s=15.0)
COLD, WARM = (), ("csm/small",)


@pytest.fixture
async def worker(store):
    return await ready(store, capacity=99)


async def small(store, *ats, **wanted):
    return [(await submit(store, model="small", at=at, **wanted)).id for at in ats]


async def taken(store, count, *, at, resident=COLD, patience=PATIENCE, worker="w1"):
    """The ids of the jobs that so many claims get, one after the other."""
    before = len(await store.list_worker_attempts(worker))
    asked = {"resident": resident, "now": at, "patience": patience}
    nonces = [f"n{before + number}" for number in range(count)]
    claims = [await store.claim_job(worker, "i1", nonce, **asked) for nonce in nonces]
    return [one and one.job.id for one in claims]


async def test_late_ones_come_after_those_in_time_each_in_their_order(store, worker):
    a, b, c, d = await small(store, 0.0, 10.0, 30.0, 40.0)
    assert await taken(store, 5, at=45.0, resident=WARM) == [c, d, a, b, None]


async def test_without_a_patience_the_oldest_comes_first_however_late(store, worker):
    jobs = await small(store, 0.0, 10.0, 30.0, 40.0)
    assert await taken(store, 4, at=45.0, patience=None) == jobs


async def test_where_all_are_late_the_oldest_comes_first(store, worker):
    jobs = await small(store, 0.0, 10.0, 12.0)
    assert await taken(store, 3, at=45.0) == jobs


async def test_a_late_job_that_starves_comes_first(store, worker):
    a, b = await small(store, 0.0, 150.0)
    starves_at = STARVED_PATIENCES * PATIENCE.wait_s
    assert await taken(store, 1, at=starves_at, resident=WARM) == [b]
    (c,) = await small(store, 155.0)
    assert await taken(store, 2, at=starves_at + 1.0, resident=WARM) == [a, c]


@pytest.mark.parametrize(("resident", "first"), [(WARM, 1), (COLD, 2)])
async def test_a_worker_that_must_load_passes_over_what_only_a_warm_one_has_in_time(
    store, worker, resident, first
):
    jobs = await small(store, 0.0, 30.0, 42.0)
    assert await taken(store, 1, at=45.0, resident=resident) == [jobs[first]]


async def test_the_age_at_which_a_job_is_late_is_itself_in_time(store, worker):
    a, b, c = await small(store, 10.0, 25.0, 40.0)
    assert await taken(store, 1, at=45.0, resident=WARM) == [b]
    assert await taken(store, 2, at=45.0) == [c, a]


async def test_where_loads_take_longer_than_the_patience_a_cold_worker_takes_the_oldest(store, worker):
    jobs = await small(store, 0.0, 30.0, 45.0)
    assert await taken(store, 3, at=45.0, patience=Patience(20.0, load_s=30.0)) == jobs


async def test_a_late_group_comes_after_one_in_time_as_the_worker_sees_them(store, worker):
    (old,) = await small(store, 30.0)
    other = await submit(store, model="large", at=44.0)
    assert await taken(store, 1, at=45.0) == [other.id]
    assert await taken(store, 1, at=45.0) == [old]


async def test_the_hint_is_of_what_is_in_time_on_the_worker(store, worker):
    late, warm, cold = await small(store, 0.0, 30.0, 42.0)
    await store.note_claim("w1", now=45.0)
    assert (await store.peek_next("w1")).id == late
    assert (await store.peek_next("w1", patience=PATIENCE)).id == cold
    assert await store.record_beats([store_world.rows.Beat("w1", "i1", 45.0, WARM)]) == {"w1": True}
    assert (await store.peek_next("w1", patience=PATIENCE)).id == warm


async def test_a_job_that_must_start_sooner_is_the_first_of_those_in_time(store, worker):
    late, calm = await small(store, 0.0, 30.0)
    (soon,) = await small(store, 40.0, start_by=400.0)
    assert await taken(store, 3, at=45.0, resident=WARM) == [soon, calm, late]


async def test_among_those_in_time_what_must_start_first_goes_first(store, worker):
    (late,) = await small(store, 0.0, start_by=300.0)
    (calm,) = await small(store, 30.0)
    (soon,) = await small(store, 40.0, start_by=400.0)
    assert await taken(store, 3, at=45.0, resident=WARM) == [soon, calm, late]


async def test_a_late_job_that_must_start_at_once_is_not_passed_over(store, worker):
    (urgent,) = await small(store, 0.0, start_by=100.0)
    (job,) = await small(store, 40.0)
    assert await taken(store, 2, at=45.0, resident=WARM) == [urgent, job]


async def test_what_is_past_its_start_is_not_begun_although_it_came_in_time(store, worker):
    await small(store, 31.0, start_by=44.0)
    late, job = await small(store, 0.0, 32.0)
    assert await taken(store, 3, at=45.0, resident=WARM) == [job, late, None]


async def test_a_retried_job_keeps_its_place(store, worker):
    jobs = await small(store, 30.0, 31.0, 32.0)
    await finish(store, await begun(store, at=40.0), fault=HOST_FAULT, at=41.0)
    await ready(store, "w2", capacity=99)
    assert await taken(store, 3, at=45.0, resident=WARM, worker="w2") == jobs


async def test_a_retried_job_that_is_late_comes_after_those_in_time(store, worker):
    retried, second = await small(store, 0.0, 30.0)
    await finish(store, await begun(store, at=40.0), fault=HOST_FAULT, at=41.0)
    await ready(store, "w2", capacity=99)
    assert await taken(store, 2, at=45.0, resident=WARM, worker="w2") == [second, retried]


async def test_behind_many_that_are_late_the_oldest_in_time_comes_first(store, worker):
    late = await small(store, *[float(number) / 10 for number in range(AHEAD_MAX - 1)])
    calm, soon = (
        (await small(store, 30.0, complete_by=9_000.0)),
        (await small(store, 40.0, complete_by=8_000.0)),
    )
    assert await taken(store, 1, at=45.0, resident=WARM) == soon
    late += await small(store, 7.0, 7.1)
    (sooner,) = await small(store, 41.0, complete_by=7_000.0)
    assert await taken(store, 3, at=45.0, resident=WARM) == [*calm, sooner, late[0]]


async def test_jobs_that_may_wait_longer_are_late_by_their_own_measure(store, worker):
    late, calm = await small(store, 0.0, 30.0)
    patient, younger = await small(store, 1.0, 44.0, wait_s=64.0)
    assert await taken(store, 4, at=45.0, resident=WARM) == [patient, calm, younger, late]


SPOT = ("local", "cpu", 0.3)
STAYS = Patience(20.0, 15.0, stays={("csm", "small"): Stay(frozenset({SPOT}), least_s=100.0, most_s=300.0)})


async def test_jobs_without_time_for_a_loss_are_left_to_machines_that_stay(store):
    """Of these the first is past saving, the second must not be lost once more, and the third has time."""
    await ready(store, "spot", capacity=99, offer={"usd_per_hour": 0.3})
    await ready(store, "sure", capacity=99)
    past, due, calm = [(await small(store, 0.0, complete_by=by))[0] for by in (90.0, 250.0, 1000.0)]
    assert await taken(store, 3, at=10.0, patience=STAYS, worker="spot") == [past, calm, None]
    assert await taken(store, 1, at=10.0, patience=STAYS, worker="sure") == [due]


async def test_on_a_machine_that_stays_such_jobs_come_first_however_late(store):
    await ready(store, "sure", capacity=99)
    (due,) = await small(store, 0.0, complete_by=250.0)
    (calm,) = await small(store, 30.0, complete_by=1000.0)
    assert await taken(store, 2, at=35.0, patience=STAYS, worker="sure") == [due, calm]
    assert await taken(store, 1, at=36.0, patience=STAYS, worker="sure") == [None]


async def test_where_no_plan_counts_any_more_any_machine_takes_them(store):
    await ready(store, "spot", capacity=99, offer={"usd_per_hour": 0.3})
    (due,) = await small(store, 0.0, complete_by=250.0)
    assert await taken(store, 1, at=10.0, patience=None, worker="spot") == [due]

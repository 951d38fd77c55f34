"""Claims under bounds on what runs at once, by owner, project and queue; and workers that serve some queues only."""

import asyncio

import pytest
import store_world
from store_world import JOB_FAULT, begun, finish, ready, submit
from store_world import claim as claim_any

from gpulease.contract.jobs import Phase
from orchestrator.store import rows
from scaling.limits import RunningLimits

store = store_world.store
PLACES = 20


async def claim(store, limits, *, at=1.0, worker="w1", **wanted):
    """The id of the job that a claim gives, or None."""
    nonce = wanted.pop("nonce", f"limited-{next(_numbers)}")
    claimed = await store.claim_job(worker, "i1", nonce, resident=(), now=at, limits=limits, **wanted)
    return claimed.job.id if claimed else None


_numbers = iter(range(10_000))
ANN = RunningLimits(owners={"ann": 2})


async def test_no_more_of_an_owner_run_than_the_bound(store):
    await ready(store, capacity=PLACES)
    ours = [await submit(store, owner="ann", at=n) for n in range(4)]
    assert [await claim(store, ANN) for _ in range(3)] == [ours[0].id, ours[1].id, None]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (RunningLimits(owners={"ann": 1}), {"owner": "ann"}),
        (RunningLimits(projects={"film": 1}), {"project": "film"}),
        (RunningLimits(queues={"long-high": 1}), {"queue": "long-high"}),
        (RunningLimits(owners={"ann": 9}, projects={"film": 1}), {"owner": "ann", "project": "film"}),
    ],
)
async def test_who_is_at_the_bound_is_in_nobodys_way(store, limits, wanted):
    await ready(store, capacity=PLACES)
    first = await submit(store, at=0, **wanted)
    await submit(store, at=1, priority=9, **wanted)
    behind = await submit(store, at=2, owner="bob")
    assert await claim(store, limits) is not None
    assert await claim(store, limits) == behind.id
    assert await claim(store, limits) is None
    assert (await store.get_job(first.id)).state.value in {"queued", "running"}


async def test_what_is_held_back_is_no_prefetch_hint(store):
    await ready(store)
    await submit(store, owner="ann", priority=9)
    behind = await submit(store, owner="bob")
    assert (await store.peek_next("w1", limits=RunningLimits(owners={"ann": 0}))).id == behind.id


async def test_groups_of_one_owner_share_the_bound(store):
    await ready(store, capacity=PLACES)
    for priority in range(5):
        await submit(store, owner="ann", priority=priority)
    begins = [await claim(store, ANN) for _ in range(5)]
    assert sum(one is not None for one in begins) == 2


async def test_a_bound_of_nothing_holds_all_back(store):
    await ready(store)
    held = await submit(store, owner="ann")
    assert await claim(store, RunningLimits(owners={"ann": 0})) is None
    assert await claim(store, RunningLimits(owners={"bob": 0})) == held.id


@pytest.mark.parametrize("fault", [None, JOB_FAULT])
async def test_when_one_has_ended_the_next_begins(store, fault):
    await ready(store, capacity=PLACES)
    await submit(store, owner="ann")
    waits = await submit(store, owner="ann", at=1)
    one = RunningLimits(owners={"ann": 1})
    held = await begun(store)
    assert await claim(store, one) is None
    await finish(store, held, fault=fault)
    assert await claim(store, one) == waits.id


async def test_a_job_counts_until_it_has_handed_in_its_result(store):
    """Its slot is free while it uploads, and it still runs."""
    await ready(store)
    await submit(store, owner="ann")
    await submit(store, owner="ann", at=1)
    held = await begun(store)
    await store.report_progress(held, rows.Progress(Phase.UPLOADING, 1.0, None), now=2.0)
    assert await claim(store, RunningLimits(owners={"ann": 1})) is None
    assert await claim(store, ANN) is not None


async def test_a_cancelled_and_a_lost_job_give_their_places_back(store):
    await ready(store, capacity=PLACES)
    first = await submit(store, owner="ann", retries=0)
    second = await submit(store, owner="ann", at=1, retries=0)
    third = await submit(store, owner="ann", at=2)
    one = RunningLimits(owners={"ann": 1})
    assert await claim(store, one) == first.id
    await store.cancel_job(first.id, who="ann", reason="enough", now=2.0)
    assert await claim(store, one) == second.id
    await store.lose_attempts("w1", keep=(), reason="gone", now=3.0)
    assert await claim(store, one) == third.id


async def test_a_repeated_claim_gives_the_same_attempt_at_the_bound(store):
    await ready(store, capacity=PLACES)
    job = await submit(store, owner="ann")
    one = RunningLimits(owners={"ann": 1})
    assert await claim(store, one, nonce="n") == job.id
    assert await claim(store, one, nonce="n") == job.id
    assert await claim(store, RunningLimits(owners={"ann": 0}), nonce="n") == job.id


async def test_bounds_that_came_down_end_nothing(store):
    await ready(store, capacity=PLACES)
    for n in range(3):
        await submit(store, owner="ann", at=n)
    held = [await begun(store) for _ in range(2)]
    one = RunningLimits(owners={"ann": 1})
    await finish(store, held[0])
    assert await claim(store, one) is None
    await finish(store, held[1])
    assert await claim(store, one) is not None


async def test_many_claims_at_once_do_not_break_a_bound(store):
    await ready(store, capacity=PLACES)
    for n in range(PLACES):
        await submit(store, owner="ann", queue="long-high", at=n)
    limits = RunningLimits(owners={"ann": 7}, queues={"long-high": 5})
    begins = await asyncio.gather(*(claim(store, limits) for _ in range(PLACES)))
    assert sum(one is not None for one in begins) == 5
    assert (await store.load_of(owner="ann")) == rows.Load(queued=PLACES - 5, running=5)


async def test_a_worker_that_names_queues_is_given_only_those(store):
    await ready(store, capacity=PLACES, queues=("long-high", "night"))
    await submit(store, queue="short-low", priority=9)
    served = await submit(store, queue="night")
    claimed = await claim_any(store)
    assert claimed.job.id == served.id
    assert await claim_any(store) is None
    assert (await store.get_worker("w1")).queues == ("long-high", "night")
    assert await store.peek_next("w1") is None


async def test_a_worker_that_names_no_queue_serves_all(store):
    await ready(store, capacity=PLACES)
    await submit(store, queue="short-low")
    await submit(store, queue="anything")
    assert await claim_any(store) is not None
    assert await claim_any(store) is not None

"""What claims under limits cost, in steps of SQLite's virtual machine: by groups and by what runs, not by the queue."""

import test_store_sqlite_cost as cost
from store_world import new_job

from orchestrator.store.sqlite import claims
from orchestrator.store.sqlite.claims import Asker, Bounds
from scaling.limits import NO_LIMITS, RunningLimits

store = cost.store
MOST = 10**6
LIMITS = RunningLimits(owners={"": MOST, "ann": 0}, projects={"film": MOST}, queues={"default": MOST})


def claim(database, nonce, limits):
    assert claims.claim(database, Asker("w1", "i1", nonce, ()), 1.0, Bounds(limits)) is not None


async def test_claims_under_limits_cost_the_same_however_long_the_queue(store):
    """What is held back is looked at once a group, and what runs is counted once."""
    groups = range(cost.GROUPS)
    await store.submit_jobs([new_job(priority=priority, complete_by=1e6) for priority in groups])
    await cost.fill(store, range(10, 1_000))
    await store.submit_jobs([new_job(owner="ann", priority=9, complete_by=1e6) for _ in range(500)])
    without = await cost.steps_of(store, claim, "zero", NO_LIMITS)
    short = await cost.steps_of(store, claim, "one", LIMITS)
    await cost.fill(store, range(1_000, 200_000))
    assert await cost.steps_of(store, claim, "two", LIMITS) <= short * 1.2
    assert short < without * 2

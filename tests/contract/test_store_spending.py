"""What an owner or a project spent: slots held, at their workers' prices, within a window."""

import pytest
import store_world
from store_world import HOST_FAULT, begun, finish, ready, report, submit

from gpulease.contract.jobs import Phase

store = store_world.store
HOUR_USD = {"usd_per_hour": 3600.0}
"""A dollar a second."""


async def spent(store, *, since=0.0, now=1000.0, **of):
    return await store.spent_by(since=since, now=now, **of)


async def test_an_attempt_costs_while_it_holds_its_slot(store):
    await ready(store, offer=HOUR_USD)
    await submit(store, owner="ann", project="p1")
    held = await begun(store, at=10.0)
    assert await spent(store, now=15.0, owner="ann") == pytest.approx(5.0)
    await report(store, held, Phase.UPLOADING, at=20.0)
    assert await spent(store, now=50.0, owner="ann") == pytest.approx(10.0)
    await finish(store, held, at=60.0)
    for of in ({"owner": "ann"}, {"project": "p1"}):
        assert await spent(store, **of) == pytest.approx(10.0)
    for of in ({"owner": "bob"}, {"project": "p2"}, {"project": ""}):
        assert await spent(store, **of) == 0.0


async def test_only_the_window_counts(store):
    await ready(store, offer=HOUR_USD)
    await submit(store, owner="ann")
    await finish(store, await begun(store, at=10.0), at=20.0)
    await submit(store, owner="ann", at=90.0)
    await begun(store, at=100.0)
    assert await spent(store, since=15.0, now=103.0, owner="ann") == pytest.approx(5.0 + 3.0)
    assert await spent(store, since=20.0, now=103.0, owner="ann") == pytest.approx(3.0)
    assert await spent(store, since=101.0, now=103.0, owner="ann") == pytest.approx(2.0)
    assert await spent(store, since=103.0, now=103.0, owner="ann") == 0.0


async def test_every_attempt_of_a_job_costs(store):
    for name in ("w1", "w2"):
        await ready(store, name, offer=HOUR_USD)
    await submit(store, owner="ann")
    await finish(store, await begun(store, "w1", at=10.0), fault=HOST_FAULT, at=14.0)
    await finish(store, await begun(store, "w2", at=20.0), at=21.0)
    assert await spent(store, owner="ann") == pytest.approx(5.0)


async def test_what_is_free_costs_nothing(store):
    await ready(store, offer={"usd_per_hour": 0.0})
    await submit(store, owner="ann")
    await finish(store, await begun(store, at=10.0), at=20.0)
    assert await spent(store, owner="ann") == 0.0


async def test_a_forgotten_job_was_paid_for_all_the_same(store):
    await ready(store, offer=HOUR_USD)
    for at in (10.0, 30.0):
        await submit(store, owner="ann", at=at)
        held = await begun(store, at=at)
        await finish(store, held, at=at + 5)
    job = (await store.get_attempt(held.attempt_id)).job
    assert await store.forget_job(job.id, now=40.0) is not None
    await store.purge(finished_before=40.0, now=40.0)
    assert await spent(store, owner="ann") == pytest.approx(10.0)
    await store.purge(finished_before=40.0, now=40.0 + 41 * 86_400)
    assert await spent(store, owner="ann", now=1e9) == 0.0

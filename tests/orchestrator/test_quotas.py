"""Quotas: how much a user and a project may have waiting, running and spent, and what is said where it is too much."""

import asyncio

import pytest
import quota_town
from quota_town import ROOT, START, settings_of

from gpulease.contract.problems import ProblemError
from orchestrator.access.queues import NAMES_MAX, seeded
from orchestrator.access.quotas import FRESH_S, LOCKS, QuotaBook
from orchestrator.clock import ManualClock
from orchestrator.settings import SettingsError
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import Quota
from scaling.limits import RunningLimits
from scaling.snapshot import Need

town = quota_town.town


async def refused(town, owner="ann", project=None, count=1):
    with pytest.raises(ProblemError) as caught:
        await town.fit(owner, project, count)
    return caught.value.problem


async def test_without_quotas_everything_fits(town):
    await town.user("ann")
    await town.queue(50)
    await town.fit("ann", None, 10_000)
    await town.fit("nobody", "nowhere", 1)
    await town.fit("", None, 1)
    await town.book.refresh()
    assert town.book.limits().bound_nothing


async def test_what_waits_is_bounded_and_the_refusal_says_all(town):
    await town.user("ann", queued_max=5)
    await town.queue(4)
    await town.fit("ann", None, 1)
    problem = await refused(town, count=2)
    assert (problem.status, problem.type) == (429, "/problems/quota")
    assert problem.detail == (
        "This user may have 5 jobs waiting and has 4, so 2 more do not fit; wait until some have started, "
        "cancel some, or raise queued_max of the user's subscription."
    )
    extra = problem.model_extra
    assert (extra["quota"], extra["of"], extra["bound"], extra["present"]) == ("queued_max", "owner", 5, 4)
    assert extra["retry_after_s"] > 0


async def test_a_batch_that_never_fits_is_told_to_be_smaller(town):
    await town.user("ann", queued_max=5)
    assert "send fewer at once" in (await refused(town, count=6)).detail


async def test_where_nothing_ever_fits_waiting_is_no_help(town):
    await town.user("ann", queued_max=0)
    assert "retry_after_s" not in (await refused(town)).model_extra


async def test_a_job_counts_for_its_project_as_well(town):
    await town.user("ann", queued_max=100)
    await town.user("bob")
    await town.project("film", "ann", queued_max=3)
    await town.queue(3, "bob", project="film")
    problem = await refused(town, project="film")
    assert problem.model_extra["of"] == "project"
    assert "raise queued_max of the project" in problem.detail
    await town.fit("ann", None, 1)


async def test_jobs_that_run_wait_no_more(town):
    await town.user("ann", queued_max=1)
    await town.worker()
    await town.queue(1)
    await refused(town)
    assert await town.claim() is not None
    await town.fit("ann", None, 1)


@pytest.mark.parametrize("bound", [1, 7, 30])
async def test_fifty_submits_at_once_end_exactly_at_the_bound(town, bound):
    await town.user("ann", queued_max=bound)
    ends = await asyncio.gather(*(town.submit() for _ in range(50)), return_exceptions=True)
    assert sum(one is None for one in ends) == bound
    assert all(one is None or one.problem.status == 429 for one in ends)
    assert (await town.store.load_of(owner="ann")).queued == bound


async def test_many_users_of_a_project_end_exactly_at_its_bound(town):
    """Every submit takes two locks, in one order for all."""
    names = [f"user-{number}" for number in range(12)]
    for name in names:
        await town.user(name, queued_max=4)
    await town.project("film", names[0], queued_max=20)
    submits = [town.submit(name, project="film") for name in names for _ in range(5)]
    ends = await asyncio.wait_for(asyncio.gather(*submits, return_exceptions=True), 30)
    assert sum(one is None for one in ends) == 20
    assert max([(await town.store.load_of(owner=name)).queued for name in names]) <= 4


async def test_a_refused_or_broken_submit_keeps_nobody_waiting(town):
    await town.user("ann", queued_max=1)
    with pytest.raises(ZeroDivisionError):
        async with town.book.admit([Need("csm", owner="ann")]):
            1 / 0  # noqa: B018
    await town.submit()
    for _ in range(LOCKS):
        with pytest.raises(ProblemError):
            await asyncio.wait_for(town.submit(), 5)


async def test_what_runs_is_bounded_by_subscription_and_project(town):
    await town.user("ann", running_max=2)
    await town.project("film", "ann", running_max=1)
    await town.queue(1)
    await town.queue(1, project="film")
    await town.book.refresh()
    assert town.book.limits() == RunningLimits(owners={"ann": 2}, projects={"film": 1})


async def test_a_first_submit_is_bounded_before_any_refresh(town):
    await town.user("ann", running_max=1)
    await town.book.refresh()
    assert town.book.limits().bound_nothing
    await town.submit()
    assert town.book.limits().owners == {"ann": 1}
    await town.book.refresh()
    assert town.book.limits().owners == {"ann": 1}


async def test_only_those_with_jobs_are_looked_at(town):
    await town.user("ann", running_max=1)
    await town.user("bob", running_max=1)
    await town.queue(1)
    await town.book.refresh()
    assert town.book.limits().owners == {"ann": 1}


async def test_a_changed_subscription_holds_within_seconds_and_at_a_refresh_at_once(town):
    await town.user("ann", running_max=1)
    await town.queue(3)
    await town.book.refresh()
    number = (await town.store.get_user("ann")).subscription_id
    await town.subscription(Quota(running_max=5), number)
    await town.book.refresh(await town.store.read_fleet())
    assert town.book.limits().owners == {"ann": 1}
    town.clock.advance(FRESH_S)
    await town.book.refresh(await town.store.read_fleet())
    assert town.book.limits().owners == {"ann": 5}
    await town.subscription(Quota(), number)
    await town.book.refresh()
    assert town.book.limits().bound_nothing


async def test_held_jobs_are_looked_at_when_a_bound_rises_and_only_then(town):
    await town.user("ann", running_max=2)
    await town.queue(3)
    await town.book.refresh()
    number = (await town.store.get_user("ann")).subscription_id
    seen = []
    for running_max in (2, 1, 3, None):
        await town.subscription(Quota(running_max=running_max), number)
        await town.book.refresh()
        seen.append(town.risen)
    assert seen == [0, 0, 1, 2]


async def test_a_spent_budget_refuses_submits_and_holds_back_what_waits(town):
    """3.60 USD an hour for half an hour."""
    await town.user("ann", usd_per_day_max=1.5)
    await town.worker(usd_per_hour=3.6)
    await town.queue(2)
    claimed = await town.claim()
    await town.fit("ann", None, 1)
    town.clock.advance(1800)
    problem = await refused(town)
    assert problem.model_extra["quota"] == "usd_per_day_max"
    assert problem.model_extra["present"] == pytest.approx(1.8)
    assert "This user has spent 1.80 of 1.50 USD in the last 24 hours" in problem.detail
    await town.book.refresh()
    limits = town.book.limits()
    assert limits.owners == {"ann": 0}
    assert "1.80 of 1.50 USD" in limits.reasons["owner", "ann"]
    assert await town.claim() is None
    await town.finish(claimed)
    town.clock.advance(86_400)
    await town.book.refresh()
    assert town.book.limits().bound_nothing
    assert town.risen == 1
    await town.fit("ann", None, 1)


async def test_a_projects_budget_is_its_own(town):
    await town.user("ann")
    await town.project("film", "ann", usd_per_day_max=1.0)
    await town.worker(usd_per_hour=3.6)
    await town.queue(1, project="film")
    await town.claim()
    town.clock.advance(1800)
    problem = await refused(town, project="film")
    assert "This project has spent 1.80 of 1.00 USD" in problem.detail
    await town.fit("ann", None, 1)


async def test_queues_are_bounded_by_the_settings_and_then_by_what_was_put(town):
    book = QuotaBook(town.store, town.clock, settings_of(queue_limits="short-low=8,long-high=2"))
    await book.refresh()
    assert book.limits().queues == {"short-low": 8, "long-high": 2}
    await book.put_queue("long-high", 3, ROOT)
    await book.put_queue("short-low", None, ROOT)
    await book.put_queue("night", 0, ROOT)
    await book.put_queue("noon", 1, ROOT)
    await book.put_queue("noon", None, ROOT)
    assert book.limits().queues == {"long-high": 3, "night": 0}
    again = QuotaBook(town.store, town.clock, settings_of(queue_limits="short-low=8,long-high=2"))
    await again.refresh()
    assert again.queues == {"long-high": 3, "night": 0}


async def test_the_number_of_bounded_queues_is_bounded(town):
    full = {f"queue-{number}": 1 for number in range(NAMES_MAX)}
    await town.store.write_setting("queues", full, who="root", now=START)
    with pytest.raises(ProblemError, match="named fields") as caught:
        await town.book.put_queue("one-more", 1, ROOT)
    assert caught.value.problem.errors[0].field == "name"
    await town.book.put_queue("queue-7", 2, ROOT)


@pytest.mark.parametrize(
    "text", ["short-low", "short-low=", "=3", "a=-1", "a=1.5", "A B=1", "a=1=2", "a=1,a=2"]
)
def test_a_faulty_seed_stops_the_start_and_is_named(text):
    with pytest.raises(SettingsError, match="queue_limits: "):
        QuotaBook(MemoryStore(), ManualClock(START), settings_of(queue_limits=f"fine=1,{text}"))


def test_all_faults_of_the_seed_are_told():
    with pytest.raises(SettingsError) as caught:
        seeded(settings_of(queue_limits="a,b,c=1"))
    assert len(str(caught.value).splitlines()) == 2


async def test_what_is_read_for_a_submit_is_kept_a_moment(town):
    """Or each of a thousand submits would ask for the same subscription."""
    await town.user("ann", running_max=1)
    await town.submit()
    reads = []
    town.book._store = Counting(town.store, reads)
    for _ in range(20):
        await town.submit()
    assert reads == []
    town.clock.advance(FRESH_S)
    await town.submit()
    assert sorted(set(reads)) == ["get_user", "list_subscriptions"]
    assert len(reads) <= 3


class Counting:
    """A store, and the names of the verbs that were asked of it."""

    def __init__(self, store, reads):
        self._store = store
        self._reads = reads

    def __getattr__(self, name):
        self._reads.append(name)
        return getattr(self._store, name)

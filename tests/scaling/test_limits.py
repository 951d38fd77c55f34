"""Bounds on what runs at once: who is held back, what that asks for, and what is said."""

from dataclasses import replace

import pytest
from pictures import (
    AGED_S,
    FIXED,
    WHATIF,
    buys,
    codes,
    intent,
    jobs,
    launches,
    need,
    offer,
    picture,
    planned,
    ready,
    withdrawals,
)

from scaling.check import PlanError, check
from scaling.limits import NO_LIMITS, RunningCounts, RunningLimits, bounds, count, has_room
from scaling.place import best_worker, runnable
from scaling.plan import Launch, Plan
from scaling.snapshot import Capability

ANN = need(owner="ann")
BOB = need(owner="bob")
LAUNCH = Launch("cloud", "a10", 1.0, 0.0, "a test")
EAGER = [offer(boot_billed=False)]


def owners(**bound):
    return RunningLimits(owners=bound)


def test_bounds_are_by_owner_project_and_queue_and_the_least_one_holds():
    limits = RunningLimits(owners={"ann": 3}, projects={"film": 2}, queues={"long": 1})
    running = RunningCounts(owners={"ann": 1}, projects={"film": 1}, queues={"long": 1})
    asked = need(owner="ann", project="film", queue="long")
    assert [(one.kind, one.most, one.running, one.left) for one in bounds(asked, limits, running)] == [
        ("owner", 3, 1, 2),
        ("project", 2, 1, 1),
        ("queue", 1, 1, 0),
    ]
    assert not has_room(asked, limits, running)
    assert has_room(replace(asked, queue="short"), limits, running)
    assert has_room(asked, NO_LIMITS, running)


def test_counts_are_by_each_of_the_three():
    film = need(owner="ann", project="film", queue="long")
    counts = count([(film, 2), (ANN, 1), (BOB, 4)])
    assert counts.owners == {"ann": 3, "bob": 4}
    assert counts.projects == {"film": 2, "": 5}
    assert counts.queues == {"long": 2, "default": 5}


@pytest.mark.parametrize("policy", [WHATIF, FIXED])
def test_no_machine_is_ordered_for_jobs_that_may_not_run(policy):
    """Twenty jobs, three may run, one does: two machines."""
    snapshot = picture(
        jobs(20, ANN, oldest_age_s=AGED_S),
        offers=EAGER,
        limits=owners(ann=3),
        running=RunningCounts(owners={"ann": 1}),
    )
    plan = planned(snapshot, policy)
    assert len(launches(plan)) == 2
    [held] = plan.blocked
    assert (held.code, held.need, held.count) == ("quota_running", ANN, 18)
    assert "At most 3 of this user's jobs run at once, and 1 run now" in held.reason
    assert "subscription" in held.reason


def test_a_user_at_the_limit_is_in_nobodys_way():
    snapshot = picture(
        jobs(20, ANN, oldest_age_s=500),
        jobs(2, BOB, oldest_age_s=AGED_S),
        offers=EAGER,
        limits=owners(ann=1),
        running=RunningCounts(owners={"ann": 1}),
    )
    plan = planned(snapshot)
    assert len(launches(plan)) == 2
    assert all("2 csm jobs" in one.reason or "1 csm job" in one.reason for one in launches(plan))


def test_all_groups_of_an_owner_share_the_bound():
    urgent, other = replace(ANN, priority=9), replace(ANN, model="small")
    snapshot = picture(jobs(1, urgent), jobs(5, other), offers=EAGER, limits=owners(ann=2))
    plan = planned(snapshot)
    assert len(launches(plan)) == 2
    assert [(one.need, one.count) for one in plan.blocked] == [(other, 4)]


def test_a_project_and_a_queue_are_named_in_the_reason():
    film, late = need(project="film"), need(queue="long-high")
    limits = RunningLimits(projects={"film": 0}, queues={"long-high": 1})
    plan = planned(picture(jobs(1, film), jobs(3, late), offers=EAGER, limits=limits))
    said = {one.need: one.reason for one in plan.blocked}
    assert said[film] == "None of this project's jobs may run now; raise running_max of the project."
    assert "At most 1 of the jobs of the queue 'long-high' run at once, and 0 run now" in said[late]
    assert "/v1/queues" in said[late]


def test_a_bound_with_a_reason_of_its_own_gives_that():
    limits = replace(owners(ann=0), reasons={("owner", "ann"): "The day's 5 USD are spent."})
    [held] = planned(picture(jobs(3, ANN), limits=limits)).blocked
    assert held.reason == "The day's 5 USD are spent."


def test_what_no_machine_could_run_takes_nobodys_place():
    """It would hold the owner's other jobs back for ever."""
    unknown = replace(ANN, engine="unknown", priority=9)
    plan = planned(picture(jobs(3, unknown), jobs(3, ANN), offers=EAGER, limits=owners(ann=1)))
    assert len(launches(plan)) == 1
    assert [(one.code, one.need, one.count) for one in plan.blocked] == [
        ("no_offer", unknown, 3),
        ("quota_running", ANN, 2),
    ]


def test_what_no_budget_allows_takes_nobodys_place():
    dear = replace(ANN, priority=9, gpu_class="h100")
    sold = [*EAGER, replace(offer("dear", 90.0), gpu_class="h100")]
    tight = replace(WHATIF, limits=replace(WHATIF.limits, usd_per_hour_max=2.0))
    plan = planned(
        picture(jobs(3, dear), jobs(3, ANN, oldest_age_s=AGED_S), offers=sold, limits=owners(ann=1)), tight
    )
    assert [one.provider for one in launches(plan)] == ["cloud"]


def test_low_priority_is_held_back_too():
    low = replace(ANN, low_priority=True)
    plan = planned(picture(jobs(3, low), workers=[ready("w1")], limits=owners(ann=1)))
    assert [(one.code, one.count) for one in plan.blocked] == [("quota_running", 2)]


def test_an_intent_for_jobs_that_may_not_run_any_more_is_withdrawn():
    fleet = [intent("w1"), intent("w2")]
    snapshot = picture(jobs(2, ANN, oldest_age_s=AGED_S), workers=fleet, offers=EAGER)
    assert buys(planned(snapshot)) == ["w1", "w2"]
    assert withdrawals(planned(replace(snapshot, limits=owners(ann=0)))) == ["w1", "w2"]
    assert len(withdrawals(planned(replace(snapshot, limits=owners(ann=1))))) == 1


def test_a_plan_that_buys_for_held_jobs_is_refused():
    full = picture(jobs(5, ANN), limits=owners(ann=2), running=RunningCounts(owners={"ann": 2}))
    with pytest.raises(PlanError, match="no waiting job may ask for it"):
        check(full, FIXED, Plan((LAUNCH,)))
    almost = replace(full, running=RunningCounts(owners={"ann": 1}))
    check(almost, FIXED, Plan((LAUNCH,)))
    with pytest.raises(PlanError, match="2 launches are more"):
        check(almost, FIXED, Plan((LAUNCH, LAUNCH)))


def test_a_plan_may_buy_for_those_beside_the_held():
    mixed = picture(jobs(5, ANN), jobs(1, BOB), limits=owners(ann=0))
    check(mixed, FIXED, Plan((LAUNCH,)))
    with pytest.raises(PlanError, match="2 launches are more"):
        check(mixed, FIXED, Plan((LAUNCH, LAUNCH)))


LONG = need(queue="long-high")


def test_a_worker_that_names_queues_runs_only_those():
    kept = ready("w1", queues=("long-high", "night"))
    assert runnable(LONG, kept)
    assert not runnable(need(), kept)
    assert runnable(LONG, ready("w2"))
    assert runnable(LONG, offer())
    assert best_worker(need(), [kept, ready("w2", idle_s=500.0)]) == "w2"


def test_a_worker_of_another_queue_is_no_supply_for_a_job():
    kept = ready("w1", queues=("short-low",))
    assert len(launches(planned(picture(jobs(1, LONG), workers=[kept])))) == 1
    assert launches(planned(picture(jobs(1, replace(LONG, queue="short-low")), workers=[kept]))) == []


def test_jobs_alike_but_for_their_queue_wait_for_machines_of_their_own():
    fleet = [ready("w1", queues=("a",)), ready("w2", queues=("b",))]
    plan = planned(picture(jobs(1, need(queue="a")), jobs(1, need(queue="b")), workers=fleet))
    assert launches(plan) == []


def test_a_job_whose_queue_nobody_serves_is_told_so():
    kept = ready("w1", queues=("short-low",))
    [held] = planned(picture(jobs(2, LONG), workers=[kept], offers=())).blocked
    assert (held.code, held.count) == ("queue", 2)
    assert "serves other queues than 'long-high'" in held.reason
    other = ready("w2", queues=("short-low",), capabilities=(Capability("whisper"),))
    assert codes(planned(picture(jobs(2, LONG), workers=[other], offers=()))) == ["no_offer"]

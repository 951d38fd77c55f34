"""Given this picture, this plan: when the default policy asks for a machine, keeps one, and lets one go."""

from dataclasses import replace

import pytest
from pictures import (
    AGED_S,
    BOOT_S,
    CSM,
    ESTIMATES,
    WHATIF,
    WHISPER,
    buys,
    codes,
    drains,
    intent,
    jobs,
    launches,
    need,
    offer,
    ordered,
    picture,
    planned,
    ready,
    stops,
    withdrawals,
)

from scaling.policy import Policy
from scaling.snapshot import Estimate, Estimates
from scaling.states import WorkerState

MINUTE = replace(WHATIF, target_p95_s=60.0)
HOUR = replace(WHATIF, target_p95_s=3600.0)
KIND = ["cloud", "a10", 1.0]


def aged(count=1, age_s=AGED_S, **knobs):
    return jobs(count, oldest_age_s=age_s, **knobs)


def knowing(pauses_s, since_s=None, machines=1, price_log=6.5):
    """A memory of machines that were not needed for so long, time and again."""
    ranks = [[since_s, pauses_s]] * machines
    return {"log_price": price_log, "ranks": [[*KIND, ranks]], "unused": {}, "trends": []}


def test_an_empty_fleet_and_one_job_launch_one_with_a_short_second_look():
    [launch] = launches(planned(picture(aged())))
    assert (launch.provider, launch.gpu_class, launch.usd_per_hour) == ("cloud", "a10", 1.0)
    assert launch.delay_s == 2.0
    assert "1 csm job would wait longer than 90 s" in launch.reason


@pytest.mark.parametrize(("aim", "target_s"), [("fast", 39), ("balanced", 78), ("cheap", 210)])
def test_an_aim_is_a_target_by_what_boots_and_loads_take(aim, target_s):
    """A boot of a minute, a load of 15 s."""
    plan = planned(picture(aged()), Policy(name="whatif", aim=aim))
    assert plan.patience.wait_s == pytest.approx(target_s)


@pytest.mark.parametrize("count", [1, 3])
def test_a_job_that_takes_far_longer_than_the_target_asks_for_no_more_than_one(count):
    plan = planned(picture(aged(count)), replace(WHATIF, target_p95_s=2.0))
    assert len(launches(plan)) == count


def test_a_machine_is_ordered_at_the_last_moment_that_is_early_enough():
    fresh = planned(picture(jobs()), HOUR)
    assert launches(fresh) == []
    assert 0 < fresh.look_again_s < 3600 - BOOT_S
    old = planned(picture(aged(age_s=3600 - 1.5 * BOOT_S)), HOUR)
    assert len(launches(old)) == 1


def test_what_costs_nothing_is_ordered_at_once():
    [launch] = launches(planned(picture(jobs(), offers=[offer(usd_per_hour=0.0)]), HOUR))
    assert launch.delay_s == 0.0


def test_no_job_means_no_action():
    assert planned(picture()).actions == ()
    assert planned(picture(jobs(0))).actions == ()


def test_an_idle_worker_takes_the_job():
    assert launches(planned(picture(jobs(), workers=[ready("w1")]))) == []


def test_a_slot_that_is_free_before_a_boot_would_end_is_waited_for():
    assert launches(planned(picture(jobs(), workers=[ready("w1", busy_s=10)]))) == []


def test_jobs_that_the_fleet_begins_within_the_target_get_no_machine():
    """One worker is free in 20 s and then every 30 s: three jobs begin within 90 s, six within three minutes."""
    fleet = [ready("w1", busy_s=10)]
    assert launches(planned(picture(jobs(3), workers=fleet))) == []
    assert len(launches(planned(picture(jobs(6), workers=fleet), MINUTE))) >= 1
    assert launches(planned(picture(jobs(6), workers=fleet), HOUR)) == []


def test_machines_on_order_are_supply_in_every_state():
    """keda#2488, knative#4344: forgetting pending launches doubles the fleet."""
    for state in (WorkerState.INTENDED, WorkerState.CREATING, WorkerState.STARTING):
        plan = planned(picture(jobs(1), workers=[ordered("w1", state)]))
        assert launches(plan) == []


def test_one_machine_is_drafted_for_all_jobs_that_it_begins_in_time():
    quick = Estimates(service={("csm", "", "a10"): Estimate(0.1, 0.2, 50)}, boot=ESTIMATES.boot)
    assert len(launches(planned(picture(aged(30, 30.0), estimates=quick)))) == 1


def test_models_share_a_machine_that_is_drafted():
    small, large = need(model="small"), need(model="large")
    sold = [offer(capabilities=(replace(CSM, models=("small", "large")),))]
    both = picture(aged(of=small, age_s=40.0), aged(of=large, age_s=0.0), offers=sold)
    assert len(launches(planned(both, replace(WHATIF, target_p95_s=130.0)))) == 1


def test_a_boot_that_overruns_buys_no_second_machine():
    late = ordered("w1", state_age_s=BOOT_S * 5, lease_age_s=BOOT_S * 5)
    assert launches(planned(picture(jobs(), workers=[late]))) == []


def test_a_creation_that_takes_too_long_is_no_supply():
    lost = ordered("w1", WorkerState.CREATING, state_age_s=601)
    assert len(launches(planned(picture(aged(), workers=[lost])))) == 1


def test_a_start_deadline_is_met_though_the_target_would_let_the_job_wait():
    fleet = [ready("w1", busy_s=0)]
    assert launches(planned(picture(jobs(3, slack_s=3600), workers=fleet), HOUR)) == []
    tight = picture(jobs(3, slack_s=50), workers=[ready("w1", busy_s=0, capabilities=(WHISPER,))])
    assert len(launches(planned(tight, HOUR))) == 1


def test_no_machine_is_ordered_for_a_job_that_no_boot_would_save():
    """It waits for what there is; one that has waited four targets with nothing under way gets a machine."""
    late = planned(picture(aged(age_s=200.0), workers=[ready("w1", busy_s=0)]))
    assert launches(late) == []
    assert len(launches(planned(picture(aged(age_s=361.0))))) == 1
    assert launches(planned(picture(aged(age_s=361.0), workers=[ordered("w1")]))) == []


def test_a_job_that_no_boot_is_in_time_for_gets_one_machine_and_no_more():
    """The fast offer sets the target, and the job may not use it."""
    slow, fast = offer("slow"), offer("fast", 9.0)
    boots = Estimates(boot={("slow", "a10"): Estimate(300, 350, 50), ("fast", "a10"): Estimate(5, 6, 50)})
    waiting = jobs(of=need(providers=("slow",)))
    [launch] = launches(planned(picture(waiting, offers=[slow, fast], estimates=boots)))
    assert launch.provider == "slow"
    for buy_in_s in (2.0, 0.0):
        meant = replace(intent("w1", buy_in_s=buy_in_s), provider="slow")
        assert (
            launches(planned(picture(waiting, workers=[meant], offers=[slow, fast], estimates=boots))) == []
        )
    bought = replace(ordered("w1"), provider="slow")
    assert launches(planned(picture(waiting, workers=[bought], offers=[slow, fast], estimates=boots))) == []


def test_the_cheapest_job_wins_and_not_the_cheapest_hour():
    slow = offer("slow", 0.9)
    boots = Estimates(ESTIMATES.service, {**ESTIMATES.boot, ("slow", "a10"): Estimate(600, 900, 50)})
    [launch] = launches(planned(picture(aged(), offers=[slow, offer()], estimates=boots)))
    assert launch.provider == "cloud"


def test_hourly_billing_is_part_of_the_price():
    hourly = offer("hourly", 0.9, granularity_s=3600.0)
    [launch] = launches(planned(picture(aged(), offers=[hourly, offer()])))
    assert launch.provider == "cloud"


def test_a_tight_start_prefers_what_boots_in_time():
    fast = offer("fast", 9.0)
    boots = Estimates(ESTIMATES.service, {**ESTIMATES.boot, ("fast", "a10"): Estimate(5, 6, 50)})
    snapshot = picture(jobs(slack_s=7.5), offers=[offer(), fast], estimates=boots)
    assert [one.provider for one in launches(planned(snapshot))] == ["fast"]
    relaxed = picture(aged(slack_s=2000, age_s=0), offers=[offer(), fast], estimates=boots)
    assert {one.provider for one in launches(planned(relaxed, MINUTE))} <= {"cloud"}


def test_equal_costs_go_by_the_faster_boot_then_by_name():
    free = [offer("b", 0.0), offer("a", 0.0), offer("quick", 0.0)]
    boots = Estimates(boot={("a", "a10"): Estimate(9, 9), ("b", "a10"): Estimate(9, 9)})
    [launch] = launches(planned(picture(jobs(), offers=free, estimates=boots)))
    assert launch.provider == "a"


def test_slots_of_one_machine_count_each():
    big = offer(capacity=4)
    assert len(launches(planned(picture(aged(8), offers=[big])))) == 2
    worker = ready("w1", capacity=4)
    assert launches(planned(picture(jobs(4), workers=[worker]))) == []


def test_only_machines_that_can_run_a_job_count():
    other = ready("w1", capabilities=(WHISPER,))
    assert len(launches(planned(picture(aged(), workers=[other])))) == 1
    avoided = aged(of=need(avoid=("w1",)))
    assert len(launches(planned(picture(avoided, workers=[ready("w1")])))) == 1


def test_a_lease_that_ends_before_the_job_would_is_no_supply():
    assert len(launches(planned(picture(aged(), workers=[ready("w1", lease_left_s=59.0)])))) == 1
    assert launches(planned(picture(aged(), workers=[ready("w1", lease_left_s=4000.0)]))) == []


def test_low_priority_never_launches_and_does_not_push_others_into_launching():
    """RunPod's lowPriority: it rides on what others pay for."""
    low = jobs(5, of=need(low_priority=True, priority=100))
    assert launches(planned(picture(low))) == []
    assert codes(planned(picture(low))) == ["low_priority"]
    both = planned(picture(low, jobs(), workers=[ready("w1")]))
    assert launches(both) == []
    assert codes(both) == []


def test_an_intent_that_only_low_priority_would_use_is_withdrawn():
    low = jobs(5, of=need(low_priority=True))
    assert withdrawals(planned(picture(low, workers=[intent("w1")]))) == ["w1"]


def test_one_step_launches_no_more_than_its_cap():
    plan = planned(
        picture(aged(500)),
        replace(WHATIF, launches_per_step_max=7, limits=replace(WHATIF.limits, workers_max=50)),
    )
    assert len(launches(plan)) == 7
    assert codes(plan) == []


def test_a_policy_nobody_wrote_is_an_error():
    with pytest.raises(ValueError, match="no policy"):
        planned(picture(), replace(WHATIF, name="magic"))


def test_two_engines_on_one_kind_of_machine_share_the_machines():
    both = offer(capabilities=(CSM, WHISPER))
    groups = aged(of=need()), aged(of=need("whisper"))
    assert len(launches(planned(picture(*groups, offers=[both])))) == 2
    assert launches(planned(picture(*groups, workers=[ready("w1", capabilities=(CSM, WHISPER))]))) == []


def test_intents_are_renewed_and_none_is_added_while_they_wait():
    for buy_in_s in (2.0, 1.0, 0.0):
        plan = planned(picture(aged(age_s=AGED_S + 2 - buy_in_s), workers=[intent("w1", buy_in_s=buy_in_s)]))
        assert (launches(plan), withdrawals(plan)) == ([], [])
    assert buys(plan) == ["w1"]


def test_an_idle_machine_stays_as_long_as_its_pauses_were_short():
    idle = ready("w1", idle_s=50.0)
    often = picture(workers=[idle], now_s=1000.0, memory=knowing([20.0, 70.0, 60.0, 80.0], since_s=950.0))
    seldom = replace(often, memory=knowing([4000.0] * 9, since_s=950.0))
    assert drains(planned(often, MINUTE)) == []
    assert drains(planned(seldom, HOUR)) == ["w1"]


def test_a_dearer_wait_keeps_what_a_cheap_one_lets_go():
    idle = picture(workers=[ready("w1", idle_s=50.0)], now_s=1000.0)
    cheap, dear = (replace(idle, memory=knowing([600.0] * 9, 950.0, price_log=one)) for one in (3.0, 9.0))
    assert drains(planned(cheap, MINUTE)) == ["w1"]
    assert drains(planned(dear, MINUTE)) == []


def test_idle_s_bounds_what_is_kept_whatever_it_would_save():
    memory = knowing([80.0] * 9, since_s=950.0)
    idle = picture(workers=[ready("w1", idle_s=31.0)], now_s=1000.0, memory=memory)
    assert drains(planned(idle, replace(MINUTE, idle_s=30.0))) == ["w1"]
    assert drains(planned(idle, replace(MINUTE, idle_s=60.0))) == []


def test_a_machine_that_costs_nothing_stays_for_five_minutes():
    idle = ready("w1", idle_s=299.0, usd_per_hour=0.0)
    assert drains(planned(picture(workers=[idle], offers=[offer(usd_per_hour=0.0)]), HOUR)) == []
    assert drains(planned(picture(workers=[replace(idle, idle_s=301.0)]), HOUR)) == ["w1"]


def test_an_order_that_nothing_needs_is_called_back_after_a_while():
    on_order = picture(workers=[ordered("w1", state_age_s=20.0, lease_age_s=20.0)], now_s=100.0)
    first = planned(on_order)
    assert stops(first) == []
    again = replace(on_order, now_s=121.0, memory=first.memory)
    assert stops(planned(again)) == ["w1"]


def test_late_jobs_raise_the_price_and_jobs_in_time_lower_it():
    before = planned(picture(jobs())).memory["log_price"]
    assert planned(picture(jobs(), waits_s=(100.0,))).memory["log_price"] > before
    assert planned(picture(jobs(), waits_s=(1.0,))).memory["log_price"] < before

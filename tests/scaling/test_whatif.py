"""Given this picture, this plan: when the what-if rule asks for another machine."""

from dataclasses import replace

import pytest
from pictures import (
    BOOT_S,
    CSM,
    ESTIMATES,
    WHATIF,
    WHISPER,
    buys,
    codes,
    intent,
    jobs,
    launches,
    need,
    offer,
    ordered,
    picture,
    planned,
    ready,
    withdrawals,
)

from scaling.snapshot import Estimate, Estimates
from scaling.states import WorkerState


def test_an_empty_fleet_and_one_job_launch_one():
    [launch] = launches(planned(picture(jobs())))
    assert (launch.provider, launch.gpu_class, launch.usd_per_hour) == ("cloud", "a10", 1.0)
    assert launch.delay_s == 0
    assert "no worker" in launch.reason


def test_no_job_means_no_action():
    assert planned(picture()).actions == ()
    assert planned(picture(jobs(0))).actions == ()


def test_an_idle_worker_takes_the_job():
    assert launches(planned(picture(jobs(), workers=[ready("w1")]))) == []


def test_a_slot_that_is_free_before_a_boot_would_end_is_waited_for():
    assert launches(planned(picture(jobs(), workers=[ready("w1", busy_s=10)]))) == []


def test_jobs_beyond_what_the_fleet_ends_in_a_boot_time_get_a_machine():
    """One worker is free in 20 s and then every 30 s: two jobs start within 60 s, the third does not."""
    fleet = [ready("w1", busy_s=10)]
    assert launches(planned(picture(jobs(2), workers=fleet))) == []
    assert len(launches(planned(picture(jobs(3), workers=fleet)))) == 1


def test_machines_on_order_are_supply_in_every_state():
    """keda#2488, knative#4344: forgetting pending launches doubles the fleet."""
    for state in (WorkerState.INTENDED, WorkerState.CREATING, WorkerState.STARTING):
        plan = planned(picture(jobs(1), workers=[ordered("w1", state)]))
        assert launches(plan) == []


def test_pending_capacity_counts_what_it_will_serve_and_not_only_one_job():
    """One launch serves the next job too when that would start before a second machine is up."""
    quick = Estimates(service={("csm", "", "a10"): Estimate(1.0, 2.0, 50)}, boot=ESTIMATES.boot)
    assert len(launches(planned(picture(jobs(40), estimates=quick), replace(WHATIF, slack_s=60.0)))) == 1


def test_a_boot_that_overruns_buys_no_second_machine():
    late = ordered("w1", state_age_s=BOOT_S * 5, lease_age_s=BOOT_S * 5)
    assert launches(planned(picture(jobs(), workers=[late]))) == []


def test_a_creation_that_takes_too_long_is_no_supply():
    lost = ordered("w1", WorkerState.CREATING, state_age_s=601)
    assert len(launches(planned(picture(jobs(), workers=[lost])))) == 1


def test_slack_lets_jobs_wait_longer_before_another_machine_is_worth_it():
    snapshot = picture(jobs(5), workers=[ready("w1", busy_s=10)])
    assert len(launches(planned(snapshot))) > len(launches(planned(snapshot, replace(WHATIF, slack_s=120))))


def test_negative_slack_launches_sooner_and_still_settles():
    hasty = replace(WHATIF, slack_s=-45)
    busy = ready("w1", busy_s=10)
    assert len(launches(planned(picture(jobs(), workers=[busy]), hasty))) == 1
    again = planned(picture(jobs(), workers=[busy, intent("w2")]), hasty)
    assert launches(again) == []
    assert buys(again) == ["w2"]


def test_a_start_deadline_overrides_slack_where_a_launch_helps():
    patient = replace(WHATIF, slack_s=600)
    fleet = [ready("w1", busy_s=0), ready("w2", busy_s=0)]
    assert launches(planned(picture(jobs(9, slack_s=3600), workers=fleet), patient)) == []
    assert launches(planned(picture(jobs(9, slack_s=90), workers=fleet), patient)) != []


def test_boots_that_are_free_are_asked_for_eagerly():
    """Salad bills only what runs, so that a count with a short idle time is best there."""
    fleet = [ready("w1", busy_s=25)]
    free = [offer("free", boot_billed=False)]
    assert len(launches(planned(picture(jobs(2), workers=fleet, offers=free)))) == 2
    fleet.append(replace(ordered("w2"), provider="free"))
    assert len(launches(planned(picture(jobs(2), workers=fleet, offers=free)))) == 1


def test_the_cheapest_job_wins_and_not_the_cheapest_hour():
    slow = offer("slow", 0.9)
    boots = Estimates(ESTIMATES.service, {**ESTIMATES.boot, ("slow", "a10"): Estimate(600, 900, 50)})
    [launch] = launches(planned(picture(jobs(), offers=[slow, offer()], estimates=boots)))
    assert launch.provider == "cloud"


def test_hourly_billing_is_part_of_the_price():
    hourly = offer("hourly", 0.9, granularity_s=3600.0)
    [launch] = launches(planned(picture(jobs(), offers=[hourly, offer()])))
    assert launch.provider == "cloud"


def test_a_tight_start_prefers_what_boots_in_time():
    fast = offer("fast", 9.0)
    boots = Estimates(ESTIMATES.service, {**ESTIMATES.boot, ("fast", "a10"): Estimate(5, 6, 50)})
    snapshot = picture(jobs(slack_s=20), offers=[offer(), fast], estimates=boots)
    assert [one.provider for one in launches(planned(snapshot))] == ["fast"]
    relaxed = picture(jobs(slack_s=2000), offers=[offer(), fast], estimates=boots)
    assert [one.provider for one in launches(planned(relaxed))] == ["cloud"]


def test_equal_costs_go_by_the_faster_boot_then_by_name():
    free = [offer("b", 0.0), offer("a", 0.0), offer("quick", 0.0)]
    boots = Estimates(boot={("a", "a10"): Estimate(9, 9), ("b", "a10"): Estimate(9, 9)})
    [launch] = launches(planned(picture(jobs(), offers=free, estimates=boots)))
    assert launch.provider == "a"


def test_slots_of_one_machine_count_each():
    big = offer(capacity=4)
    assert len(launches(planned(picture(jobs(8), offers=[big])))) == 2
    worker = ready("w1", capacity=4)
    assert launches(planned(picture(jobs(4), workers=[worker]))) == []


def test_only_machines_that_can_run_a_job_count():
    other = ready("w1", capabilities=(WHISPER,))
    assert len(launches(planned(picture(jobs(), workers=[other])))) == 1
    avoided = jobs(of=need(avoid=("w1",)))
    assert len(launches(planned(picture(avoided, workers=[ready("w1")])))) == 1


def test_a_lease_that_ends_before_the_job_would_is_no_supply():
    assert len(launches(planned(picture(jobs(), workers=[ready("w1", lease_left_s=59.0)])))) == 1
    assert launches(planned(picture(jobs(), workers=[ready("w1", lease_left_s=4000.0)]))) == []


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
        picture(jobs(500)),
        replace(WHATIF, launches_per_step_max=7, limits=replace(WHATIF.limits, workers_max=50)),
    )
    assert len(launches(plan)) == 7
    assert codes(plan) == []


def test_a_policy_nobody_wrote_is_an_error():
    with pytest.raises(ValueError, match="no policy"):
        planned(picture(), replace(WHATIF, name="magic"))


def test_two_engines_on_one_kind_of_machine_share_the_machines():
    both = offer(capabilities=(CSM, WHISPER))
    plan = planned(picture(jobs(), jobs(of=need("whisper")), offers=[both]))
    assert len(launches(plan)) == 2
    assert (
        launches(
            planned(
                picture(jobs(), jobs(of=need("whisper")), workers=[ready("w1", capabilities=(CSM, WHISPER))])
            )
        )
        == []
    )

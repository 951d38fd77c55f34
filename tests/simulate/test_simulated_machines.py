"""Machines of a run: bought after their delay, billed by their terms, lost, ended by their provider, fast or slow."""

from dataclasses import replace

import pytest
from recheck import recheck
from small_traces import COMPUT3, FIXED, WHATIF, busy_hour, constant, moments, run, spaced

from scaling.policy import Limits
from scaling.simulate.knowledge import Knowledge
from scaling.simulate.scenario import GpuClass, Turns
from scaling.snapshot import Estimate

SELDOM = Turns(period_s=60.0)
NOW = replace(FIXED, launch_delay_s_min=0.0, launch_delay_s_max=0.0)


def test_a_launch_without_a_delay_costs_no_time():
    report, events = run(spaced(100), constant(), NOW)
    assert moments(events, "launch") == [100]
    assert moments(events, "ready") == moments(events, "start") == [130]
    assert moments(events, "finish") == moments(events, "terminate") == [145]
    assert (report.wait_max_s, report.billed_s) == (35, 45)
    assert (report.boot_s, report.busy_s, report.load_s, report.idle_s) == (30, 15, 5, 0)


def test_a_policys_delay_ends_with_the_first_look_after_it():
    _, events = run(spaced(100), constant(), replace(FIXED, launch_delay_s_min=12.0, launch_delay_s_max=12.0))
    assert moments(events, "launch") == [115]


def test_an_intent_that_nobody_needs_any_more_is_withdrawn_for_free():
    """The first machine is free again before the delay of the second is over."""
    rows = spaced(100, 90, service_s=20.0)
    report, events = run(rows, constant(), replace(FIXED, launch_delay_s_min=50.0, launch_delay_s_max=50.0))
    assert (report.launches, report.withdrawn) == (1, 1)
    assert moments(events, "start") == [180, 205]


def test_the_provider_may_begin_a_lease_later_than_the_plan_says():
    loop = Turns(launch_delay_s=2.5)
    _, events = run(spaced(100), constant(loop=loop), NOW)
    assert moments(events, "launch") == [102.5]
    assert moments(events, "ready") == [132.5]


def test_where_machines_are_bought_one_after_the_other_each_waits_for_its_turn():
    loop = Turns(launch_delay_s=0.5, launch_gap_s=2.0)
    report, events = run(spaced(100, 0, 0, service_s=90.0), constant(loop=loop), NOW)
    assert moments(events, "launch") == [100.5, 102.5, 104.5]
    assert report.launches == 3


def test_who_waits_for_its_turn_to_be_bought_may_still_be_withdrawn():
    """The loads take long and the gap does, and so the first machine has done all before the second is bought."""
    loop = Turns(launch_gap_s=300.0)
    report, _ = run(spaced(100, 0, 0, service_s=10.0), constant(boot_s=1.0, loop=loop), NOW)
    assert (report.launches, report.unfinished) == (1, 0)
    assert report.withdrawn >= 1


def test_a_loop_that_waits_for_more_to_happen_plans_so_much_later():
    _, events = run(spaced(100, 0.03), constant(loop=Turns(nudge_s=0.05)), NOW)
    assert moments(events, "launch") == [100.05, 100.05]


def test_jobs_of_a_model_are_loaded_for_once():
    rows = [*spaced(0, 1, 1), *spaced(10, model="M1")]
    report, events = run(rows, constant(), replace(NOW, limits=Limits(workers_max=1)))
    assert report.peak_workers == 1
    assert [one["switch_s"] for one in events if one["e"] == "start"] == [5, 0, 0, 5]


def test_bounds_that_are_set_hold_and_those_that_are_not_are_the_scenarios():
    rows = spaced(*[0.0] * 30)
    assert run(rows, constant(), NOW)[0].peak_workers == 30
    assert run(rows, replace(constant(), workers_max=12), NOW)[0].peak_workers == 12
    assert run(rows, constant(), replace(NOW, limits=Limits(workers_max=7)))[0].peak_workers == 7
    assert run(rows, constant(count_max=3), NOW)[0].peak_workers == 3


@pytest.mark.parametrize(
    ("terms", "billed_s"),
    [
        ({}, 45.0),
        ({"boot_billed": False}, 15.0),
        ({"granularity_s": 60.0}, 60.0),
        ({"min_billed_s": 50.0}, 50.0),
        ({"min_billed_s": 50.0, "granularity_s": 20.0}, 60.0),
        ({"boot_billed": False, "granularity_s": 20.0}, 20.0),
    ],
)
def test_a_lease_is_billed_by_the_terms_of_its_offer(terms, billed_s):
    report, _ = run(spaced(0), constant(**terms, usd_per_hour=7.2), NOW)
    assert report.lease_s == 45
    assert report.billed_s == pytest.approx(billed_s)
    assert report.cost_usd == pytest.approx(billed_s * 7.2 / 3600)


def test_a_failed_launch_is_free_where_the_boot_is():
    report, _ = run(busy_hour(40), constant(boot_billed=False, fail_p=0.5), NOW)
    assert report.failed > 0
    assert report.billed_s == pytest.approx(report.lease_s - report.boot_s)


def test_a_lost_machine_loses_its_job_which_runs_again_elsewhere():
    rows = busy_hour()
    losing = replace(COMPUT3, offers=(replace(COMPUT3.offers[0], loss_mean_s=300.0),))
    report, events = run(rows, losing, NOW, seed=2)
    leased_s, waits = recheck(rows, events, losses=True)
    lost = [one["node"] for one in events if one["e"] == "fail"]
    assert report.lost + report.failed == len(lost)
    assert report.lost_s > 0
    assert report.unfinished == 0
    assert report.wait_max_s == pytest.approx(max(waits.values()), abs=1e-5)
    assert report.billed_s == pytest.approx(leased_s, abs=1e-3)


def test_a_provider_that_ends_its_leases_is_asked_again():
    """A job may take 1200 s by its limit, and so begins only where so much of the lease is left."""
    rows = spaced(0, *[300] * 20, service_s=200.0)
    report, events = run(rows, constant(lease_s_max=2000.0), replace(NOW, idle_s=1e6))
    begun = {one["node"]: one["t"] for one in events if one["e"] == "launch"}
    lasted_s = [one["t"] - begun[one["node"]] for one in events if one["e"] in ("terminate", "fail")]
    assert max(lasted_s) <= 2000
    assert report.launches > 3
    assert (report.lost, report.unfinished) == (0, 0)


def test_a_job_that_no_lease_lasts_for_is_lost_again_and_again_and_given_up_after_a_day():
    report, events = run(spaced(0), constant(lease_s_max=1330.0, load_s=1310.0, loop=SELDOM), NOW)
    assert report.unfinished == 1
    assert report.lost == report.launches == pytest.approx(86_400 / 1330, abs=2)
    assert report.lost_s == pytest.approx(report.lost * 1300, rel=0.02)
    assert {one["e"] for one in events[1:]} == {"arrival", "launch", "ready", "start", "fail"}


def test_a_slow_class_takes_longer_and_the_policy_learns_it():
    slow = replace(constant(), gpu_classes={"gpu": GpuClass(service_factor=3.0, load_s=5.0)})
    _, events = run(spaced(0), slow, NOW)
    assert moments(events, "finish") == [30 + 5 + 3 * 10]


def test_the_cheaper_of_two_offers_is_bought_and_the_other_when_it_is_sold_out():
    cheap = replace(constant(count_max=2).offers[0], provider="cheap", usd_per_hour=0.1)
    dear = replace(cheap, provider="dear", usd_per_hour=1.0, count_max=50)
    world = replace(constant(), offers=(dear, cheap))
    report, _ = run(spaced(*[0.0] * 5), world, NOW)
    assert report.launches == 5
    assert report.cost_usd == pytest.approx(45 * (2 * 0.1 + 3 * 1.0) / 3600)


def test_jobs_that_may_buy_nothing_are_left_and_said_to_be():
    report, events = run(spaced(0, 10, low_priority=True), constant(loop=SELDOM), WHATIF)
    assert (report.unfinished, report.launches, report.cost_usd) == (2, 0, 0)
    assert moments(events, "start") == []


def test_low_priority_rides_on_what_others_pay_for():
    rows = sorted([*spaced(0), *spaced(1, 1, low_priority=True)], key=lambda one: one.t_s)
    report, events = run(rows, constant(), NOW)
    assert (report.unfinished, report.launches) == (0, 1)
    assert [one["job"] for one in events if one["e"] == "start"] == [0, 1, 2]


def test_a_deadline_that_is_missed_is_counted_and_the_job_still_runs():
    rows = [
        *spaced(0, start_within_s=29.0),
        *spaced(0.5, start_within_s=40.0),
        *spaced(1, complete_in_s=30.0),
        *spaced(1.5, complete_in_s=60.0),
        *spaced(2),
    ]
    report, _ = run(rows, constant(), NOW)
    assert (report.deadline_misses, report.unfinished) == (2, 0)


def test_who_must_start_first_goes_first_among_jobs_alike():
    rows = [*spaced(0), *spaced(1, start_within_s=3000.0), *spaced(2, start_within_s=1000.0)]
    _, events = run(rows, replace(constant(), workers_max=1), NOW)
    assert [one["job"] for one in events if one["e"] == "start"] == [2, 1, 0]


def test_a_days_budget_stops_the_launches_of_that_day():
    rows = spaced(*[600] * 8, 90_000, service_s=100.0)
    free, _ = run(rows, constant(loop=SELDOM), NOW)
    held, events = run(rows, constant(loop=SELDOM), replace(NOW, usd_per_day_max=free.cost_usd / 3))
    launched = moments(events, "launch")
    assert held.launches < free.launches
    assert any(one > 86_400 for one in launched)
    day_usd = sum(one < 86_400 for one in launched) * 195 / 3600
    assert day_usd <= free.cost_usd / 2


def test_what_a_buyer_is_told_of_boots_need_not_be_true():
    told = Estimate(mean_s=200.0, p90_s=300.0, p99_s=400.0)
    terms = replace(constant().offers[0], boot_prior=told)
    assert terms.told() == told
    assert replace(terms, boot_prior=None).told().mean_s == 30.0
    sold = Knowledge(replace(constant(), offers=(terms,)), {})
    assert sold.estimates().boot["cloud", "gpu"] == sold.offers()[0].boot_prior == told

"""The work bound, and the schedule of who knows the future: counted by hand, and held to its log."""

import math
from dataclasses import replace

import pytest
from recheck import recheck
from small_traces import COMPUT3, WHATIF, busy_hour, constant, run, spaced

from scaling.simulate import make_trace, read_scenario
from scaling.simulate.offline import clairvoyant, work_bound_s
from scaling.simulate.scenario import Terms

WORLD = constant(boot_s=30.0, load_s=5.0)


def schedule(rows, limit_s=60.0, world=WORLD, late_share=0.0):
    return clairvoyant(make_trace(list(rows)), world, limit_s, late_share)


def test_the_work_bound_is_all_services_and_each_model_once():
    rows = [*spaced(0, 10, service_s=7.0), *spaced(100, service_s=20.0, model="M1")]
    assert work_bound_s(make_trace(rows), WORLD) == pytest.approx(7 + 7 + 20 + 2 * 5)


def test_the_work_bound_takes_the_fastest_class():
    gpus = {"slow": replace(WORLD.gpu_classes["gpu"], service_factor=2.0), "fast": WORLD.gpu_classes["gpu"]}
    offers = tuple(Terms("cloud", WORLD.offers[0].boot, gpu_class=one) for one in gpus)
    both = replace(WORLD, gpu_classes=gpus, offers=offers)
    assert work_bound_s(make_trace(spaced(0, service_s=10.0)), both) == 10 + 5


def test_one_job_costs_a_start_and_its_service_at_the_last_moment():
    made = schedule(spaced(100, service_s=10.0))
    assert made.billed_s == pytest.approx(30 + 5 + 10)
    assert made.waits_s() == [pytest.approx(60, abs=0.01)]


def test_jobs_of_a_model_that_come_within_the_limit_share_a_start():
    made = schedule(spaced(100, 20, 20, service_s=10.0))
    assert len(made.leases) == 1
    assert made.billed_s == pytest.approx(30 + 5 + 3 * 10)


@pytest.mark.parametrize(("pause_s", "leases"), [(20, 1), (50, 2)])
def test_a_machine_is_kept_over_a_pause_that_is_cheaper_than_a_start(pause_s, leases):
    # The first is served from 60 s after it came to 70; a start costs 35 s, and the pause what is left of it.
    made = schedule(spaced(100, 70 + pause_s, service_s=10.0))
    assert len(made.leases) == leases
    extra_s = pause_s if leases == 1 else 30 + 5
    assert made.billed_s == pytest.approx(30 + 5 + 2 * 10 + extra_s, abs=0.01)


def test_where_the_boot_is_free_only_a_load_is_worth_waiting_for():
    free = constant(boot_s=30.0, load_s=5.0, boot_billed=False)
    assert schedule(spaced(100, 70 + 3), world=free).billed_s == pytest.approx(5 + 2 * 10 + 3, abs=0.01)
    assert schedule(spaced(100, 70 + 20), world=free).billed_s == pytest.approx(2 * (5 + 10))


def test_another_model_costs_a_load_on_the_same_machine():
    rows = [*spaced(100, service_s=10.0), *spaced(120, service_s=10.0, model="M1")]
    assert schedule(rows).billed_s == pytest.approx(30 + 5 + 10 + 5 + 10)


def test_the_late_are_those_whose_places_cost_most():
    lonely = spaced(*[1000] * 2, service_s=10.0)
    rows = sorted([*lonely, *spaced(4000, *[5] * 38, service_s=1.0)], key=lambda one: one.t_s)
    in_time, late = schedule(rows), schedule(rows, late_share=0.05)
    assert len(in_time.leases) == len(late.leases) + 2
    assert max(in_time.waits_s()) <= 60
    assert late.wait_s(0.95) <= 60
    assert sum(one > 60 for one in late.waits_s()) == 2


@pytest.mark.parametrize(("scenario", "limit_s"), [("comput3", 60.0), ("comput3", 150.0), ("salad", 300.0)])
def test_a_schedule_is_a_log_that_keeps_all_rules_of_the_world(scenario, limit_s):
    rows, world = busy_hour(), read_scenario(scenario)
    trace = make_trace(rows, 2.0)
    made = clairvoyant(trace, world, limit_s)
    leased_s, waits = recheck(rows, list(made.events(trace)), speed=2)
    assert leased_s == pytest.approx(made.billed_s, abs=1e-3)
    assert sorted(waits.values()) == pytest.approx(made.waits_s(), abs=1e-5)
    assert sum(one > limit_s for one in waits.values()) <= math.floor(0.05 * len(rows))
    assert made.billed_s >= work_bound_s(trace, world)


def test_who_knows_the_future_pays_less_than_a_policy_that_waits_as_long():
    rows = busy_hour()
    report, _ = run(rows, COMPUT3, WHATIF)
    made = clairvoyant(make_trace(rows), COMPUT3, report.wait_p95_s)
    assert work_bound_s(make_trace(rows), COMPUT3) < made.billed_s < report.billed_s


def test_a_limit_that_nobody_can_meet_is_said():
    with pytest.raises(ValueError, match="no schedule has a p95 wait of 10 s"):
        schedule(spaced(0), limit_s=10.0)


def test_at_no_moment_are_there_more_machines_than_there_may_be():
    rows = spaced(*[0] * 40, service_s=100.0)
    with pytest.raises(ValueError, match="no schedule has a p95 wait of 60 s"):
        schedule(rows, world=replace(WORLD, workers_max=3))


def test_bills_in_steps_are_refused():
    with pytest.raises(ValueError, match="billed by what was used"):
        schedule(spaced(0), world=constant(granularity_s=3600.0))

"""Tiers of a class: the cheap one is taken away, and what is known of that is learned."""

import random
from dataclasses import replace

import pytest
from small_traces import COMPUT3, run, spaced
from tuned_runs import SEEDS, mean, tuned

from scaling.plan import Launch
from scaling.simulate import Row, make_trace
from scaling.simulate.knowledge import Knowledge
from scaling.simulate.scenario import Boot, GpuClass, Scenario, Terms

BOOT = Boot(45.0, 90.0)
SURE = Terms("cloud", BOOT)
SPOT = Terms("cloud", BOOT, usd_per_hour=0.3, loss_mean_s=600.0)


def knowledge(*terms):
    return Knowledge(Scenario("tiers", terms), make_trace(spaced(0.0)).models())


def lives_s(known):
    return [one.life_mean_s for one in known.offers()]


def test_tiers_of_a_class_are_told_apart_by_their_price():
    known = knowledge(SURE, SPOT)
    assert [(one.usd_per_hour, one.life_mean_s) for one in known.offers()] == [(1.0, None), (0.3, 600.0)]
    assert known.terms(Launch("cloud", "gpu", 0.3, 0.0, "cheap")) is SPOT
    known.leased(SPOT, 1)
    assert [one.count_max for one in known.offers()] == [500, 499]


def test_lives_are_learned_of_machines_that_are_gone():
    known = knowledge(SURE, SPOT)
    for _ in range(30):
        known.served(SPOT, 60.0, lost=True)
    assert lives_s(known)[0] is None
    assert 60.0 < lives_s(known)[1] < 150.0
    patient = knowledge(SURE, SPOT)
    patient.served(SPOT, 60_000.0, lost=False)
    assert lives_s(patient)[1] > 10_000.0


def test_what_is_never_taken_away_is_not_said_to_be():
    known = knowledge(COMPUT3.offers[0])
    known.served(COMPUT3.offers[0], 100.0, lost=False)
    assert lives_s(known) == [None]


def to_be_done(seed, jobs=80):
    """Jobs of one to three minutes, one a minute, each to be done within ten."""
    dice = random.Random(f"tiers-{seed}")
    rows, t_s = [], 0.0
    for _ in range(jobs):
        t_s += dice.expovariate(1 / 60)
        service_s = round(dice.uniform(60, 180), 3)
        rows.append(Row(round(t_s, 3), service_s, f"M{dice.randrange(2)}", complete_in_s=600.0))
    return rows


def runs(*terms):
    """The same jobs and the same luck, whatever is for sale."""
    scenario = Scenario("tiers", terms, {"gpu": GpuClass(load_s=5.0)})
    return [run(to_be_done(seed), scenario, tuned(120.0), seed)[0] for seed in SEEDS]


@pytest.mark.slow
def test_both_tiers_cost_less_than_the_sure_one_and_are_less_often_late_than_the_cheap_one():
    brief = replace(SPOT, loss_mean_s=300.0)
    both, sure, cheap = runs(brief, SURE), runs(SURE), runs(brief)
    assert mean(both, "cost_usd") < 0.85 * mean(sure, "cost_usd")
    late = [sum(one.deadline_misses for one in reports) for reports in (both, cheap)]
    assert late[1] > 15
    assert late[0] < late[1] / 3
    assert [one.unfinished for one in both] == [0, 0, 0]


def test_a_job_falls_back_after_losses_and_is_in_time():
    """What lives for ten seconds hardly ever ends a job of thirty, but it is far cheaper, and so it is tried first."""
    mayfly, dear = replace(SPOT, loss_mean_s=10.0, usd_per_hour=0.001), replace(SURE, fail_p=0.0)
    scenario = Scenario("tiers", (mayfly, dear), {"gpu": GpuClass(load_s=5.0)})
    for seed in SEEDS:
        report, events = run(spaced(0.0, service_s=30.0, complete_in_s=600.0), scenario, tuned(120.0), seed)
        assert (report.deadline_misses, report.unfinished) == (0, 0)
        begun = [one["node"] for one in events if one["e"] == "start"]
        lost = {one["node"] for one in events if one["e"] == "fail"}
        assert begun[-1] not in lost
        assert len(lost.intersection(begun)) >= 1

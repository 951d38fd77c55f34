"""What is paid for, and what is got for it: boots that are free or paid, targets, and deadlines."""

from dataclasses import replace
from itertools import pairwise

import pytest
from small_traces import run
from tuned_runs import COMPUT3, SALAD, SEEDS, begun_at, mean, mixed, paired, tuned

TARGETS_S = (30.0, 60.0, 120.0, 240.0, 480.0)


def unbilled(scenario):
    return replace(scenario, offers=(replace(scenario.offers[0], boot_billed=False),))


@pytest.mark.parametrize("gap_s", [12.0, 60.0])
def test_machines_whose_boot_is_free_idle_less_and_are_ended_sooner(gap_s):
    """To need one again costs only the wait. What is leased beside boots is less then."""
    paid = paired(tuned(220.0), COMPUT3, gap_s=gap_s)
    free = paired(tuned(220.0), unbilled(COMPUT3), gap_s=gap_s)
    assert mean(free, "idle_s") < 0.5 * mean(paid, "idle_s")
    assert mean(free, "cost_usd") < mean(paid, "cost_usd")
    assert mean(free, "lease_s") - mean(free, "boot_s") < mean(paid, "lease_s") - mean(paid, "boot_s")


def test_a_tighter_target_costs_more_and_a_looser_waits_longer():
    tried = [paired(tuned(target_s)) for target_s in TARGETS_S]
    costs_usd = [mean(one, "cost_usd") for one in tried]
    waits_s = [mean(one, "wait_mean_s") for one in tried]
    assert all(after <= 1.03 * before for before, after in pairwise(costs_usd)), costs_usd
    assert all(after >= before for before, after in pairwise(waits_s)), waits_s
    assert costs_usd[0] > 1.3 * costs_usd[-1]
    assert waits_s[-1] > 3 * waits_s[0]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "target_s"), [(COMPUT3, 60.0), (COMPUT3, 150.0), (SALAD, 220.0)])
def test_nineteen_of_twenty_wait_no_longer_than_the_target(scenario, target_s):
    report, _ = run(mixed(11, jobs=4000), scenario, tuned(target_s))
    assert 0.5 * target_s < report.wait_p95_s <= target_s


def missed(scenario, target_s, hint):
    """How many of the rows that have the limit in `hint` break it, with and without having said so."""
    with_hint = without = 0
    for seed in SEEDS:
        plain = mixed(seed, jobs=120, gap_s=40.0, models=4, service_s=(3.0, 40.0))
        said = [replace(one, **hint) if number % 3 == 0 else one for number, one in enumerate(plain)]
        report, _ = run(said, scenario, tuned(target_s), seed)
        with_hint += report.deadline_misses
        without += _late(plain, said, run(plain, scenario, tuned(target_s), seed)[1])
    return with_hint, without


def _late(plain, said, events):
    at = begun_at(events)
    ended = {one["job"]: one["t"] for one in events if one["e"] == "finish"}
    return sum(
        at[number] - one.t_s > one.start_within_s or ended[number] - one.t_s > one.complete_in_s
        for number, one in enumerate(said)
    )


@pytest.mark.parametrize(
    ("scenario", "target_s", "hint"),
    [
        (COMPUT3, 300.0, {"start_within_s": 120.0}),
        (COMPUT3, 300.0, {"complete_in_s": 180.0}),
        (SALAD, 1200.0, {"start_within_s": 600.0}),
    ],
)
def test_jobs_that_say_when_they_must_begin_are_in_time(scenario, target_s, hint):
    with_hint, without = missed(scenario, target_s, hint)
    assert without > 10
    assert with_hint < without / 3


def test_jobs_that_can_wait_cost_less_and_none_is_missed():
    def run_with(said):
        return [
            run([replace(one, **said) for one in mixed(seed, jobs=250)], COMPUT3, tuned(90.0), seed)[0]
            for seed in SEEDS
        ]

    plain, patient = run_with({}), run_with({"start_within_s": 1800.0})
    assert mean(patient, "cost_usd") < 0.9 * mean(plain, "cost_usd")
    assert mean(patient, "wait_p95_s") > 2 * mean(plain, "wait_p95_s")
    assert [(one.deadline_misses, one.unfinished) for one in patient] == [(0, 0)] * len(SEEDS)


@pytest.mark.slow
def test_low_priority_never_launches():
    low = [replace(one, low_priority=True) for one in mixed(1, jobs=3)]
    report, _ = run(low, COMPUT3, tuned(90.0))
    assert (report.launches, report.unfinished) == (0, 3)


def test_low_priority_beside_others_rides_on_what_they_pay_for():
    both = paying = 0
    for seed in SEEDS:
        rows = [
            replace(one, low_priority=number % 2 == 1) for number, one in enumerate(mixed(seed, jobs=480))
        ]
        alone = [one for one in rows if not one.low_priority]
        report = run(rows, COMPUT3, tuned(90.0), seed)[0]
        assert report.unfinished < 240
        both += report.launches
        paying += run(alone, COMPUT3, tuned(90.0), seed)[0].launches
    assert both <= 1.3 * paying

"""Over whole runs: no cap is ever exceeded, and more room never makes jobs wait longer."""

from dataclasses import replace
from itertools import pairwise

import pytest
from small_traces import constant, run
from tuned_runs import COMPUT3, SALAD, leases, mean, mixed, paired, priced, tuned

from scaling.policy import Limits
from scaling.simulate.scenario import Boot, Terms

NOISE = 1.1
"""Launches of another number have other luck; over a few seeds that is worth so much of a wait."""
NOISE_S = 3.0


def peak(machines):
    """The most that were leased at a moment; one that ends as another is launched makes room for it."""
    changes = sorted([(one[2], -1) for one in machines] + [(one[0], 1) for one in machines])
    live = most = 0
    for _, change in changes:
        live += change
        most = max(most, live)
    return most


@pytest.mark.parametrize("scenario", [COMPUT3, SALAD], ids=lambda one: one.name)
@pytest.mark.parametrize("most", [1, 3, 7])
def test_no_more_workers_than_allowed(scenario, most):
    report, events = run(mixed(most, jobs=80), scenario, tuned(90.0, limits=Limits(most)))
    assert peak(leases(events)) <= most
    assert report.unfinished == 0


def test_no_more_an_hour_than_allowed():
    _, events = run(mixed(5, jobs=80), priced(COMPUT3, 0.8), tuned(90.0, limits=Limits(None, 2.9)))
    assert peak(leases(events)) == 3


def test_a_provider_has_its_own_limits_and_stock():
    """Machines of one provider boot for 30 s, of the other for 31."""
    cheap = Terms("cheap", Boot(30.0, 30.0), usd_per_hour=0.5, fail_p=0.0, count_max=3)
    dear = Terms("dear", Boot(31.0, 31.0), fail_p=0.0)
    scenario = replace(constant(), offers=(cheap, dear))
    policy = tuned(60.0, provider_limits={"dear": Limits(2)})
    _, events = run(mixed(6, jobs=80, gap_s=6.0), scenario, policy)
    by_boot = {boot_s: [] for boot_s in (30.0, 31.0)}
    for one in leases(events):
        if round(one[1] - one[0]) in by_boot:
            by_boot[round(one[1] - one[0])].append(one)
    assert peak(by_boot[30.0]) == 3
    assert peak(by_boot[31.0]) == 2


def test_no_more_launches_a_look_than_allowed():
    rows = [replace(one, t_s=0.0) for one in mixed(7, jobs=60)]
    _, events = run(rows, constant(), tuned(90.0, launches_per_step_max=2))
    at = [one[0] for one in leases(events)]
    assert max(at.count(t_s) for t_s in at) == 2


def test_a_day_that_is_spent_buys_nothing():
    """What was leased before runs on; jobs that nothing may be bought for are left."""
    budget_usd = 0.5
    _, events = run(mixed(8, jobs=120), COMPUT3, tuned(90.0, usd_per_day_max=budget_usd))
    machines = leases(events)
    for launched_at, _, _ in machines:
        spent_s = sum(max(0.0, min(one[2], launched_at) - one[0]) for one in machines)
        assert spent_s / 3600 < budget_usd or launched_at > 86_400.0


@pytest.mark.parametrize(
    ("scenario", "target_s"), [(COMPUT3, 90.0), pytest.param(SALAD, 220.0, marks=pytest.mark.slow)]
)
def test_more_workers_allowed_never_make_jobs_wait_longer(scenario, target_s):
    waits_s = [
        mean(paired(tuned(target_s, limits=Limits(most)), scenario), "wait_mean_s") for most in (2, 4, 8, 16)
    ]
    assert waits_s[0] > 4 * waits_s[-1]
    assert all(after <= NOISE * before + NOISE_S for before, after in pairwise(waits_s)), waits_s


@pytest.mark.slow
def test_more_money_never_makes_jobs_wait_longer():
    scenario = priced(COMPUT3, 0.7)
    waits_s = [
        mean(paired(tuned(90.0, limits=Limits(None, usd)), scenario), "wait_mean_s")
        for usd in (1.5, 3.0, 6.0, 12.0)
    ]
    assert waits_s[0] > 4 * waits_s[-1]
    assert all(after <= NOISE * before + NOISE_S for before, after in pairwise(waits_s)), waits_s

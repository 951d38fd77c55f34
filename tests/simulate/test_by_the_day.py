"""The forecast by the time of day, in whole runs: it pays where days are alike, and does nothing where they are not."""

import random
from dataclasses import replace

import pytest
from small_traces import run

from scaling.policy import Policy
from scaling.simulate import Row
from scaling.simulate.scenario import BUILT_IN, Turns

pytestmark = pytest.mark.slow
DAY_S = 86_400.0
SALAD = replace(BUILT_IN["salad"], loop=Turns(period_s=30.0))
"""Half of the boots take longer than four minutes; nobody should wait longer than two and a half."""
POLICY = Policy(target_p95_s=150.0)
SEEDS = (0, 1, 2)
BUSY_H = ((8.0, 8.5), (12.0, 12.5), (16.0, 16.5), (20.0, 20.5))


def busy_by_day(days, seed):
    """The same half hours of each day are busy, from one minute to the next, and all others quiet."""
    return busy(
        [(day * DAY_S + a * 3600, day * DAY_S + b * 3600) for day in range(days) for a, b in BUSY_H], seed
    )


def busy_at_random(days, seed):
    """As many half hours of each day, at any time."""
    dice = random.Random(f"when-{seed}")
    begins = sorted(dice.uniform(0, days * DAY_S - 1800) for _ in range(days * len(BUSY_H)))
    return busy([(one, one + 1800) for one in begins], seed)


def busy(spans, seed):
    dice, rows = random.Random(f"jobs-{seed}"), []
    for begin_s, end_s in spans:
        t_s = begin_s + dice.expovariate(1 / 12)
        while t_s < end_s:
            rows.append(Row(t_s, dice.uniform(20, 80), dice.choice(("A", "A", "B"))))
            t_s += dice.expovariate(1 / 12)
    return sorted(rows, key=lambda one: one.t_s)


def both(rows, seed):
    """The same jobs and boots, without the forecast and with it."""
    without, _ = run(rows, SALAD, replace(POLICY, knobs={"forecast": 0}), seed)
    return without, run(rows, SALAD, POLICY, seed)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_where_days_are_alike_it_costs_less_and_nobody_waits_longer(seed):
    """It has only the second half of the run to show it."""
    without, used = both(busy_by_day(6, seed), seed)
    assert used.cost_usd < 0.98 * without.cost_usd
    assert used.wait_p95_s <= min(without.wait_p95_s, 150.0)
    assert used.over_300 <= without.over_300


@pytest.mark.parametrize("seed", SEEDS)
def test_where_no_day_is_like_another_it_switches_itself_off(seed):
    without, used = both(busy_at_random(5, seed), seed)
    assert used.cost_usd == pytest.approx(without.cost_usd, rel=0.01)
    assert used.wait_p95_s == pytest.approx(without.wait_p95_s, rel=0.01)

"""What no plan may do is refused, whoever made the plan."""

from dataclasses import replace

import pytest
from pictures import FIXED, intent, jobs, need, offer, picture, ready

from scaling.check import PlanError, check
from scaling.plan import Blocked, Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.policy import Limits
from scaling.states import WorkerState

LAUNCH = Launch("cloud", "a10", 1.0, 0.0, "why")
LOW = jobs(9, of=need(low_priority=True))
FLEET = [ready("w1"), ready("w2", busy_s=5), intent("w3", buy_in_s=4), intent("w4")]


def verdict(*actions, policy=FIXED, groups=(jobs(9),), workers=tuple(FLEET), offers=(offer(),), **knobs):  # noqa: B008
    check(picture(*groups, workers=workers, offers=offers, **knobs), policy, Plan(actions))


def test_a_lawful_plan_passes():
    verdict(LAUNCH, Buy("w4", "why"), Withdraw("w3", "why"), Drain("w2", "why"), Stop("w1", "why"))


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        ([Stop("ghost", "why")], "not there"),
        ([Drain("w1", "why"), Stop("w1", "why")], "two actions"),
        ([Stop("w2", "why")], "drain it"),
        ([Stop("w3", "why")], "cannot be stopped"),
        ([Drain("w4", "why")], "only a ready worker"),
        ([Buy("w3", "why")], "delay are left"),
        ([Buy("w1", "why")], "not an intent"),
        ([Withdraw("w1", "why")], "not an intent"),
        ([Drain("w1", "")], "no reason"),
        ([replace(LAUNCH, provider="mars")], "nobody offers"),
        ([replace(LAUNCH, usd_per_hour=0.9)], "price"),
        ([replace(LAUNCH, delay_s=-1.0)], "delay"),
        ([LAUNCH] * 10, "jobs that ask"),
    ],
)
def test_unlawful_actions(actions, says):
    with pytest.raises(PlanError, match=says):
        verdict(*actions)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"policy": replace(FIXED, launches_per_step_max=0)}, "in one step"),
        ({"policy": replace(FIXED, limits=Limits(workers_max=4))}, "workers in all"),
        ({"policy": replace(FIXED, limits=Limits(None, usd_per_hour_max=4.5))}, "USD/hour in all"),
        ({"policy": replace(FIXED, provider_limits={"cloud": Limits(4)})}, "workers cloud"),
        ({"policy": replace(FIXED, usd_per_day_max=3.0), "usd_today": 3.0}, "day's budget"),
        ({"offers": [offer(cooled_s=1.0)]}, "cools down"),
        ({"offers": [offer(count_max=2)]}, "no 1 more"),
        ({"groups": [LOW]}, "no waiting job"),
        ({"groups": [jobs(of=need("blender"))]}, "no waiting job"),
        ({"groups": []}, "no waiting job"),
    ],
)
def test_unlawful_launches(knobs, says):
    with pytest.raises(PlanError, match=says):
        verdict(LAUNCH, **knobs)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (replace(FIXED, limits=Limits(workers_max=2)), "buys more"),
        (replace(FIXED, usd_per_day_max=3.0), "day's budget"),
    ],
)
def test_unlawful_purchases(policy, says):
    with pytest.raises(PlanError, match=says):
        verdict(Buy("w4", "why"), policy=policy, usd_today=3.0)


def test_the_dead_and_the_endlessly_draining_may_be_stopped_with_a_job():
    verdict(Stop("w5", "why"), workers=[ready("w5", busy_s=5, silent_s=46)])
    stuck = ready("w5", busy_s=5, state=WorkerState.DRAINING, state_age_s=7201)
    verdict(Stop("w5", "why"), workers=[stuck])


def test_a_block_says_why():
    with pytest.raises(PlanError, match="code or reason"):
        check(picture(), FIXED, Plan(blocked=(Blocked("no_offer", ""),)))

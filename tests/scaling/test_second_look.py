"""Intents: bought when their delay is over and they are still needed, withdrawn as soon as they are not."""

from dataclasses import replace

import pytest
from pictures import (
    AGED_S,
    FIXED,
    WHATIF,
    buys,
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

from scaling.policy import Limits


def test_an_intent_whose_delay_is_over_is_bought_while_needed():
    assert buys(planned(picture(jobs(), workers=[intent("w1")]))) == ["w1"]


def test_an_intent_waits_out_its_delay():
    assert planned(picture(jobs(), workers=[intent("w1", buy_in_s=3)])).actions == ()


def test_an_intent_that_nobody_needs_goes_at_once_and_not_when_its_delay_ends():
    assert withdrawals(planned(picture(workers=[intent("w1", buy_in_s=20)]))) == ["w1"]
    covered = picture(jobs(), workers=[intent("w1", buy_in_s=20), ready("w2")])
    assert withdrawals(planned(covered)) == ["w1"]


def test_only_the_surplus_of_several_intents_goes():
    plan = planned(picture(jobs(), workers=[intent("w1"), intent("w2")]), FIXED)
    assert buys(plan) == ["w1"]
    assert withdrawals(plan) == ["w2"]


def test_intents_above_a_limit_that_came_down_are_withdrawn():
    """skypilot#3255: a smaller maximum holds for what is pending, too."""
    small = replace(WHATIF, limits=Limits(workers_max=2))
    workers = [ready("w1", busy_s=0), intent("w2"), intent("w3")]
    plan = planned(picture(jobs(50), workers=workers), small)
    assert buys(plan) == ["w2"]
    assert withdrawals(plan) == ["w3"]
    assert launches(plan) == []


def test_an_intent_is_not_bought_once_the_day_is_spent():
    broke = replace(WHATIF, usd_per_day_max=5.0)
    plan = planned(picture(jobs(), workers=[intent("w1")], usd_today=5.0), broke)
    assert withdrawals(plan) == ["w1"]
    assert launches(plan) == []


def test_an_intent_of_an_offer_that_cools_down_makes_room_for_another():
    offers = [offer(cooled_s=100.0), offer("other", 2.0)]
    plan = planned(picture(jobs(oldest_age_s=AGED_S), workers=[intent("w1")], offers=offers))
    assert withdrawals(plan) == ["w1"]
    assert [one.provider for one in launches(plan)] == ["other"]


@pytest.mark.parametrize("policy", [WHATIF, FIXED])
def test_an_intent_is_kept_where_its_like_would_be_ordered(policy):
    """An offer of two slots and a full fleet: the jobs went to the new order, and the intent was withdrawn."""
    eager = offer(boot_billed=False, capacity=2)
    full = replace(policy, limits=Limits(workers_max=3))
    workers = [ready("w1", busy_s=0), ready("w2", busy_s=0), intent("w3")]
    waiting = jobs(30, oldest_age_s=AGED_S), jobs(1, need(priority=5), oldest_age_s=AGED_S)
    plan = planned(picture(*waiting, workers=workers, offers=[eager]), full)
    assert (withdrawals(plan), launches(plan)) == ([], [])
    assert buys(plan) == ["w3"]

"""A plan says what it could not do, why, and what would help."""

from dataclasses import replace

import pytest
from pictures import (
    AGED_S,
    CSM,
    FIXED,
    WHATIF,
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
)

from scaling.policy import Limits
from scaling.states import WorkerState


def only(plan):
    [block] = plan.blocked
    assert launches(plan) == []
    return block


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (need("blender"), "engine 'blender'"),
        (need(model="huge"), "model 'huge'"),
        (need(features=("sing",)), "features sing"),
        (need(gpu_class="h100"), "class 'h100'"),
        (need(min_vram_gb=80), "80 GB"),
        (need(providers=("mars",)), "provider mars"),
        (need(usd_per_hour_max=0.5), "0.5 USD/hour"),
        (need(model="large", features=("clone",), min_vram_gb=25), "25 GB"),
    ],
)
def test_no_offer_says_which_part_of_the_need_failed(asked, word):
    block = only(planned(picture(jobs(3, of=asked))))
    assert block.code == "no_offer"
    assert block.need == asked
    assert block.count == 3
    assert word in block.reason


def test_nothing_for_sale_at_all():
    block = only(planned(picture(jobs(), offers=())))
    assert block.code == "no_offer"
    assert "enable a provider" in block.reason


def test_all_fitting_offers_cool_down():
    """dstack#1740: offers that refused are left alone for a while, and only they."""
    cooled = offer(cooled_s=90.0)
    block = only(planned(picture(jobs(), offers=[cooled])))
    assert block.code == "cooling"
    assert "90 s" in block.reason
    assert [
        one.provider for one in launches(planned(picture(jobs(), offers=[cooled, offer("b", 5.0)]), FIXED))
    ] == ["b"]


def test_sold_out():
    assert only(planned(picture(jobs(), offers=[offer(count_max=0)]))).code == "no_capacity"


def test_what_is_intended_is_taken_off_what_is_left():
    plan = planned(picture(jobs(9), workers=[intent("w1")], offers=[offer(count_max=2)]))
    assert len(launches(plan)) == 1


@pytest.mark.parametrize("state", [one for one in WorkerState if one is not WorkerState.GONE])
def test_every_worker_that_is_not_gone_counts_for_the_limit(state):
    taken = ordered("w1", state, state_age_s=1.0)
    elsewhere = replace(taken, gpu_class="other")
    plan = planned(picture(jobs(), workers=[elsewhere]), replace(WHATIF, limits=Limits(workers_max=1)))
    assert launches(plan) == []


def test_the_limits_of_a_provider_leave_the_others_free():
    policy = replace(WHATIF, provider_limits={"cloud": Limits(workers_max=0)})
    assert only(planned(picture(jobs()), policy)).code == "budget_workers"
    plan = planned(picture(jobs(oldest_age_s=AGED_S), offers=[offer(), offer("b", 5.0)]), policy)
    assert [one.provider for one in launches(plan)] == ["b"]


def test_money_per_hour():
    policy = replace(WHATIF, limits=Limits(usd_per_hour_max=2.5))
    assert len(launches(planned(picture(jobs(9)), policy))) == 2
    block = only(planned(picture(jobs(), offers=[offer(usd_per_hour=3.0)]), policy))
    assert block.code == "budget_usd_per_hour"
    assert "raise usd_per_hour_max" in block.reason


def test_a_dearer_offer_above_the_budget_gives_way_to_one_within():
    policy = replace(WHATIF, limits=Limits(usd_per_hour_max=2.0))
    dear = offer("dear", 3.0, boot_billed=False)
    assert [
        one.provider
        for one in launches(planned(picture(jobs(), offers=[dear, offer(usd_per_hour=2.0)]), policy))
    ] == ["cloud"]


def test_money_per_day_counts_what_is_promised():
    policy = replace(WHATIF, usd_per_day_max=10.0)
    assert only(planned(picture(jobs(), usd_today=10.0), policy)).code == "budget_usd_per_day"
    one_job = 1.0 * (60 + 30) / 3600
    assert len(launches(planned(picture(jobs(9), usd_today=10.0 - 2.5 * one_job), policy))) == 2


def test_a_group_that_has_a_machine_is_not_blocked_though_it_wants_another():
    policy = replace(FIXED, limits=Limits(workers_max=1))
    [block] = planned(picture(jobs(50), workers=[ready("w1", busy_s=0)]), policy).blocked
    assert (block.code, block.need) == ("budget_workers", None)
    assert block.count > 40


def test_avoided_machines_and_nothing_else():
    block = only(planned(picture(jobs(of=need(avoid=("w1",))), workers=[ready("w1")], offers=())))
    assert block.code == "avoid"


def test_paused_machines_and_nothing_else():
    block = only(planned(picture(jobs(), workers=[ready("w1", paused=True)], offers=())))
    assert block.code == "paused"
    assert "resume" in block.reason


def test_one_blocked_group_does_not_hold_the_others():
    plan = planned(picture(jobs(of=need("blender", priority=9)), jobs()))
    assert codes(plan) == ["no_offer"]
    assert len(launches(plan)) == 1


def test_a_machine_of_ones_own_needs_no_offer():
    buffer = ready("w1", usd_per_hour=0.0, capabilities=(CSM,))
    assert planned(picture(jobs(7), workers=[buffer], offers=())).blocked == ()

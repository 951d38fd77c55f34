"""Machines that may be taken away: what a job costs on them, and when it is not for them any more."""

import math
from dataclasses import replace

import pytest
from pictures import (
    AGED_S,
    BOOT_S,
    ESTIMATES,
    FIXED,
    SERVICE_S,
    WHATIF,
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

from scaling.demand.catalogue import FALL_BACK_S, Catalogue, leases, served_s
from scaling.estimate import Times, life
from scaling.place import Candidate, choose
from scaling.snapshot import Estimate, Estimates

SPOT = offer(usd_per_hour=0.3, life_mean_s=600.0)
SURE = offer(usd_per_hour=1.0)
SLOW_BOOT_S = 600.0


def taking(service_s, p90_s=None):
    """Estimates by which a csm job takes so long."""
    return replace(
        ESTIMATES, service={("csm", "", "a10"): Estimate(service_s, p90_s or service_s, samples=50)}
    )


def first_choice(service_s, *offers):
    snapshot = picture(jobs(), offers=offers, estimates=taking(service_s))
    return Catalogue(snapshot, Times(snapshot.estimates)).fits(need())[0]


def cost_usd(service_s, sold):
    return first_choice(service_s, sold).cost_usd


def test_a_job_is_done_on_the_lives_that_it_takes():
    """By hand: with a life of 600 s and a job of as much, e leases, each of 600 (1 - 1/e) s beside its boot."""
    assert leases(600.0, 600.0) == pytest.approx(math.e)
    assert served_s(600.0, 600.0) == pytest.approx(600 * (1 - 1 / math.e))
    assert cost_usd(600.0, SPOT) == pytest.approx(
        0.3 * math.e * (BOOT_S + 600 * (1 - 1 / math.e)) / 3600, rel=0.01
    )


def test_what_is_not_taken_away_costs_its_boot_and_its_service():
    assert cost_usd(SERVICE_S, SURE) == pytest.approx((BOOT_S + SERVICE_S) / 3600, rel=0.01)
    long_lived = replace(SURE, life_mean_s=1e9)
    assert cost_usd(SERVICE_S, long_lived) == pytest.approx(cost_usd(SERVICE_S, SURE), rel=0.01)


def test_a_cheap_offer_loses_its_first_place_to_long_jobs():
    assert first_choice(120.0, SPOT, SURE).offer is SPOT
    assert first_choice(1800.0, SPOT, SURE).offer is SURE


def test_no_job_is_too_long_to_be_reckoned_with():
    assert cost_usd(1e9, SPOT) < math.inf


def test_lives_are_learned_with_what_is_told_as_a_prior():
    assert life(600.0, 0.0, 0) == 600.0
    assert life(600.0, 300_000.0, 100) == pytest.approx(3000.0, rel=0.05)
    assert life(600.0, 6000.0, 0) > 600.0


def ordered_ahead(usd_per_day_max=None):
    """Launches for jobs to come, of a fleet whose need has just grown from none to three machines."""
    memory = {"log_price": 6.5, "ranks": [], "unused": {}, "trends": [["cloud", "a10", 1.0, [0.0, 0, 0.0]]]}
    slow = Estimates(ESTIMATES.service, {("cloud", "a10"): Estimate(SLOW_BOOT_S, 900.0, 50)})
    busy = [ready(f"w{number}", busy_s=1.0) for number in range(3)]
    growing = picture(workers=busy, memory=memory, now_s=1.0, estimates=slow)
    policy = replace(WHATIF, target_p95_s=300.0, usd_per_day_max=usd_per_day_max)
    return launches(planned(growing, policy))


def test_orders_ahead_of_jobs_count_against_the_day():
    """There is no job yet whose cost they would have; each is held against the budget by its boot."""
    assert len(ordered_ahead()) > 2
    assert len(ordered_ahead(usd_per_day_max=2.5 * SLOW_BOOT_S / 3600)) == 2


# Falling back. A try takes 120 s in the mean, and a machine that stays 90 s to boot and 120 s to do it, in nine of ten.
LAST_S = 120.0 + 90.0 + 120.0 + FALL_BACK_S
"""With less left, a job that is lost once more would be late."""
SHORT = taking(120.0)


def due(slack_s, count=1, **knobs):
    return jobs(count, oldest_age_s=AGED_S, slack_s=slack_s, **knobs)


def tiers(*groups, **knobs):
    knobs.setdefault("offers", (SPOT, SURE))
    return picture(*groups, estimates=SHORT, **knobs)


def prices(snapshot, policy=WHATIF):
    return [one.usd_per_hour for one in launches(planned(snapshot, policy))]


def spot(name, **knobs):
    return ready(name, usd_per_hour=0.3, **knobs)


@pytest.mark.parametrize("policy", [WHATIF, FIXED])
def test_jobs_go_where_they_are_cheap_while_there_is_slack_and_then_where_they_are_sure(policy):
    assert prices(tiers(due(None)), policy) == [0.3]
    assert prices(tiers(due(LAST_S + BOOT_S + 1)), policy) == [0.3]
    assert prices(tiers(due(LAST_S + BOOT_S - 1)), policy) == [1.0]
    assert prices(tiers(due(LAST_S - 100)), policy) == [1.0]


def test_jobs_that_are_short_against_the_lives_of_machines_do_not_fall_back():
    lasting = replace(SPOT, life_mean_s=36_000.0)
    assert prices(tiers(due(LAST_S - 100), offers=(lasting, SURE))) == [0.3]


def test_where_nothing_that_stays_is_to_be_had_what_is_not_is_better_than_nothing():
    assert prices(tiers(due(LAST_S - 100), offers=(SPOT, replace(SURE, cooled_s=60.0)))) == [0.3]
    assert prices(tiers(due(LAST_S - 100), offers=(SPOT, replace(SURE, count_max=0)))) == [0.3]


def test_an_idle_machine_that_may_be_taken_away_is_not_for_a_job_that_fell_back():
    """It is ordered another one, and claims go by the same."""
    idle = tiers(due(LAST_S - 1), workers=[spot("w1", resident=("csm/",))])
    [launch] = launches(planned(idle))
    assert launch.usd_per_hour == 1.0
    assert "could not make up for" in launch.reason
    assert launches(planned(tiers(due(LAST_S + 1), workers=[spot("w1")]))) == []


def test_only_as_many_of_a_group_fall_back_as_came_with_the_first():
    ages_s = (AGED_S, AGED_S - 20.0, 5.0)
    snapshot = tiers(due(LAST_S - 30.0, 3, ages_s=ages_s), workers=[spot("w1"), spot("w2")])
    assert prices(snapshot) == [1.0]


def test_one_that_stays_and_is_on_order_is_waited_for_and_not_ordered_twice():
    sure = ordered("w1", lease_age_s=30.0)
    assert prices(tiers(due(LAST_S - 30.0), workers=[sure, spot("w2")])) == []


def test_a_cheap_intent_is_given_up_for_one_that_stays():
    cheap = replace(intent("w1", buy_in_s=1.0), usd_per_hour=0.3)
    plan = planned(tiers(due(LAST_S - 30.0), workers=[cheap]))
    assert [one.usd_per_hour for one in launches(plan)] == [1.0]
    assert withdrawals(plan) == ["w1"]


def claimed(plan, slack_s, usd_per_hour):
    """Whether a machine of this price would get such a job."""
    host = offer(usd_per_hour=usd_per_hour)
    one = Candidate(need(), AGED_S, slack_s)
    asked = {"host_id": "w1", "resident": (), "running_by_owner": {}, "patience": plan.patience}
    return choose([one], host, **asked) is not None


def test_claims_leave_jobs_that_fell_back_to_machines_that_stay():
    plan = planned(tiers(due(LAST_S + 500.0)))
    assert claimed(plan, LAST_S + 1, 0.3)
    assert not claimed(plan, LAST_S - 1, 0.3)
    assert claimed(plan, LAST_S - 1, 1.0)
    assert claimed(plan, 60.0, 0.3), "no other machine would be in time any more"


def test_claims_know_also_of_jobs_that_run_and_may_come_back():
    busy = ready("w1", busy_s=10.0, usd_per_hour=0.3)
    assert not claimed(planned(tiers(workers=[busy])), LAST_S - 1, 0.3)


def test_on_a_machine_that_stays_those_that_fell_back_go_first():
    plan = planned(tiers(due(LAST_S + 500.0)))
    calm, tight = Candidate(need(owner="a"), 80.0, 5000.0), Candidate(need(owner="b"), 20.0, LAST_S - 1)
    asked = {"host_id": "w1", "resident": (), "running_by_owner": {}, "patience": plan.patience}
    assert choose([calm, tight], SURE, **asked) == tight.need


@pytest.mark.parametrize(
    "slack_s", [LAST_S + 500.0, LAST_S + BOOT_S - 1, LAST_S + 1, LAST_S - 1, 220.0, 100.0, 5.0]
)
@pytest.mark.parametrize("count", [1, 3])
def test_what_was_ordered_is_not_ordered_again_nor_given_up_whatever_slack_there_is(slack_s, count):
    """Neither at the same moment nor a second later, when less is left."""
    first = planned(tiers(due(slack_s, count)))
    intents = [
        replace(intent(f"w{number}", buy_in_s=one.delay_s), usd_per_hour=one.usd_per_hour)
        for number, one in enumerate(launches(first))
    ]
    again = tiers(due(slack_s, count), workers=intents, memory=first.memory)
    assert (prices(again), withdrawals(planned(again))) == ([], [])

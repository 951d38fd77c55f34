"""Machines that may be taken away: what a job costs on them, and when it is not for them any more."""

import math
from dataclasses import replace

import pytest
from pictures import (
    BOOT_S,
    ESTIMATES,
    SERVICE_S,
    WHATIF,
    jobs,
    launches,
    need,
    offer,
    picture,
    planned,
    ready,
)

from scaling.demand.catalogue import Catalogue, leases, served_s
from scaling.estimate import Times, life
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

"""How long things take, from little and from much history."""

import pytest
from pictures import need

from scaling.estimate import (
    BOOT_PRIOR,
    POOL_SAMPLES,
    SERVICE_PRIOR,
    Times,
    boot_estimate,
    estimate,
    pool_estimate,
    remaining_s,
)
from scaling.snapshot import Estimate, Estimates

PRIOR = Estimate(30.0, 90.0)


def test_no_history_is_the_prior():
    assert estimate([], PRIOR) == PRIOR


def test_one_odd_sample_moves_it_a_little_and_many_decide():
    assert estimate([630.0], PRIOR).mean_s == pytest.approx(180.0)
    many = estimate([10.0] * 297, PRIOR)
    assert many.mean_s == pytest.approx(10.2)
    assert many.samples == 297


def test_p90_is_the_ninth_of_ten_and_never_below_the_mean():
    flat = Estimate(0.0, 0.0)
    ten = estimate([float(n) for n in range(1, 11)], flat)
    assert ten.p90_s == pytest.approx(9.0 * 10 / 13)
    assert estimate([1000.0] * 50, Estimate(2000.0, 1.0)).p90_s >= estimate([1000.0] * 50, PRIOR).mean_s


def test_service_falls_back_from_model_to_engine_to_prior():
    known = Estimates(
        service={
            ("csm", "large", "a10"): Estimate(50, 60, 9),
            ("csm", "", "a10"): Estimate(20, 30, 9),
            ("csm", "small", "h100"): Estimate(5, 6, 9),
        }
    )
    times = Times(known)
    assert times.service(need(model="large"), "a10").mean_s == 50
    assert times.service(need(), "a10").mean_s == 20
    assert times.service(need(model="tiny"), "a10").mean_s == pytest.approx(35)
    assert times.service(need(model="tiny"), "v100").mean_s == pytest.approx(25)
    assert times.service(need("whisper"), "a10") == SERVICE_PRIOR


def test_a_pool_takes_the_latest_of_each_kind():
    often, once = [10.0] * POOL_SAMPLES + [500.0] * 100, [40.0]
    assert pool_estimate([often, once], PRIOR) == estimate([10.0] * POOL_SAMPLES + [40.0], PRIOR)
    assert pool_estimate([], PRIOR) == PRIOR


def test_boot_falls_back_from_class_to_provider_to_prior():
    known = Estimates(boot={("c", "a"): Estimate(10, 20, 3), ("c", "b"): Estimate(30, 40, 3)})
    assert boot_estimate(known, "c", "a").mean_s == 10
    assert boot_estimate(known, "c", "z").mean_s == pytest.approx(20)
    assert boot_estimate(known, "d", "a") == BOOT_PRIOR


def test_what_overruns_its_mean_is_never_about_to_end():
    assert remaining_s(PRIOR, 10.0) == 20.0
    assert remaining_s(PRIOR, 300.0) == pytest.approx(30.0)

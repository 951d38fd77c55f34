"""Who runs what, among those that fit."""

import math
from dataclasses import replace

import pytest
from pictures import CSM, need, offer, ready

from scaling.place import Candidate, Patience, best_worker, choose, own_wait_s, runnable

HOST = offer()


def pick(*candidates, resident=(), running=None, host_id="w1", **more):
    return choose(
        candidates, HOST, host_id=host_id, resident=resident, running_by_owner=running or {}, **more
    )


def waits(of, age_s=10.0, slack_s=1000.0, count=1):
    return Candidate(of, age_s, slack_s, count)


def test_nothing_fits_nothing_is_chosen():
    assert pick(waits(need("blender")), waits(need(avoid=("w1",)))) is None
    assert pick() is None


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (need(), True),
        (need(model="large", features=("clone",)), True),
        (need(model="huge"), False),
        (need(features=("sing",)), False),
        (need(gpu_class="a10", min_vram_gb=24, providers=("cloud", "b"), usd_per_hour_max=1.0), True),
        (need(gpu_class="h100"), False),
        (need(min_vram_gb=25), False),
        (need(providers=("b",)), False),
        (need(usd_per_hour_max=0.99), False),
    ],
)
def test_runnable(asked, fits):
    assert runnable(asked, HOST, "w1") is fits


def test_priority_goes_before_everything_but_low_priority():
    first = need(priority=1)
    assert pick(waits(need(model="large"), slack_s=1), waits(first), resident=("csm/large",)) == first
    assert pick(waits(need(low_priority=True, priority=9)), waits(need())) == need()


def test_the_warm_model_goes_first_unless_another_is_urgent_or_waits_long():
    warm, cold = need(model="small"), need(model="large")
    assert pick(waits(cold, age_s=60), waits(warm), resident=("csm/small",)) == warm
    assert pick(waits(cold, slack_s=59), waits(warm), resident=("csm/small",)) == cold
    assert pick(waits(cold, age_s=121), waits(warm), resident=("csm/small",)) == cold


def test_fair_share_then_deadline_then_age():
    mine, yours = need(owner="me"), need(owner="you")
    assert pick(waits(mine), waits(yours), running={"me": 2, "you": 1}) == yours
    assert pick(waits(mine), waits(yours, slack_s=500)) == yours
    assert pick(waits(mine, age_s=11), waits(yours)) == mine


def test_a_job_wakes_the_warm_worker_and_else_the_last_used():
    fleet = [ready("w1", idle_s=5), ready("w2", idle_s=1), ready("w3", idle_s=50, resident=("csm/large",))]
    assert best_worker(need(model="large"), fleet) == "w3"
    assert best_worker(need(model="small"), fleet) == "w2"
    assert best_worker(need("blender"), fleet) is None
    assert best_worker(need(), [replace(fleet[0], capabilities=(CSM,)), fleet[1]]) == "w2"


def test_a_lease_takes_only_jobs_that_fit_in_what_is_left():
    leased = ready("w1", lease_left_s=3000.0)
    assert runnable(need(max_time_s=2940.0), leased)
    assert not runnable(need(max_time_s=2941.0), leased)
    assert runnable(need(max_time_s=2941.0), offer(lease_s_max=7200.0))
    assert not runnable(need(max_time_s=7200.0), offer(lease_s_max=7200.0))


def test_an_owners_machine_is_woken_before_one_that_is_paid_for():
    paid = ready("w1", resident=("csm/small",), idle_s=1.0)
    own = ready("w2", owned=True, idle_s=500.0)
    assert best_worker(need(), [paid, own]) == "w2"


def test_what_is_held_is_taken_by_a_warm_worker_only_and_what_is_beyond_by_anybody():
    large = need(model="large")
    assert pick(waits(large, count=2), holds={large: 2}) is None
    assert pick(waits(large, count=2), holds={large: 2}, resident=("csm/large",)) == large
    assert pick(waits(large, count=3), holds={large: 2}) == large
    assert pick(waits(large, count=2), waits(need(), slack_s=9e9), holds={large: 2}) == need()


def test_a_held_job_wakes_warm_workers_only():
    large = need(model="large")
    cold, warm = ready("w1", owned=True), ready("w2", idle_s=500.0, resident=("csm/large",))
    assert best_worker(large, [cold, warm], count=2, holds={large: 2}) == "w2"
    assert best_worker(large, [cold], count=2, holds={large: 2}) is None
    assert best_worker(large, [cold], count=3, holds={large: 2}) == "w1"


@pytest.mark.parametrize(
    ("start_within_s", "wait_s"),
    [
        (None, None),
        (math.inf, None),
        (1800.0, 512.0),
        (86_400.0, 32_768.0),
        (30.0, 8.0),
        (2.0, 1.0),
        (1.0, None),
    ],
)
def test_clients_say_how_long_a_job_may_wait(start_within_s, wait_s):
    assert own_wait_s(start_within_s) == wait_s


def test_who_may_wait_is_late_by_its_own_measure():
    patience = Patience(20.0, queue_wait_s={"long-high": 200.0})
    patient, plain = need(wait_s=512.0), need()
    assert [patience.of(one).wait_s for one in (patient, plain, need(queue="long-high"))] == [
        512.0,
        20.0,
        200.0,
    ]
    assert patience.of(need(wait_s=8.0)).wait_s == 20.0
    assert patience.of(need(queue="long-high", wait_s=512.0)).wait_s == 512.0
    assert patience.measured_s(patient, 256.0) == 10.0
    assert patience.measured_s(plain, 256.0) == 256.0
    late, in_time = waits(plain, age_s=30.0), waits(patient, age_s=30.0)
    assert pick(late, in_time, patience=patience) == patient
    assert pick(waits(plain), waits(patient, age_s=600.0), patience=patience) == plain

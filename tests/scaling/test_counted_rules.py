"""What holds for all rules that say a number of workers: bounds, settling, memory, pools and what stands in the way."""

import json
from dataclasses import replace

import pytest
from clockwork import Clockwork, counted
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import (
    CSM,
    WHISPER,
    codes,
    drains,
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

from scaling.plan import Launch
from scaling.policies import COUNTED, check_knobs
from scaling.policy import Limits

NAMES = sorted(COUNTED)
EAGER = {
    "concurrency": {"max_scale": 20},
    "ongoing": {"min_replicas": 1, "max_replicas": 20, "upscale_delay_s": 0, "target_ongoing_requests": 0.5},
    "qps": {
        "min_replicas": 1,
        "max_replicas": 20,
        "upscale_delay_seconds": 0,
        "target_qps_per_replica": 0.01,
    },
    "queue_delay": {"workers_min": 1, "workers_max": 20},
    "queue_length": {"min_replicas": 1, "max_replicas": 20, "polling_period": 1},
    "static": {"workers": 5},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ("tick_s", "target", "trail", "level", "peaks", "ups", "downs", "active_s", "turn", "panic_s")
)
names = st.sampled_from(NAMES)
groups = st.lists(
    st.builds(
        jobs,
        st.integers(1, 30),
        st.builds(need, priority=st.integers(0, 2), low_priority=st.booleans()),
        oldest_age_s=st.floats(0, 600),
    ),
    max_size=4,
)


@st.composite
def fleets(draw):
    idle = [ready(f"i{n}", idle_s=age) for n, age in enumerate(draw(st.lists(st.floats(0, 900), max_size=4)))]
    busy = [ready(f"b{n}", busy_s=age) for n, age in enumerate(draw(st.lists(st.floats(0, 90), max_size=4)))]
    booting = [
        ordered(f"o{n}", state_age_s=age)
        for n, age in enumerate(draw(st.lists(st.floats(0, 60), max_size=4)))
    ]
    return [*idle, *busy, *booting, *(intent(f"t{n}", 5.0) for n in range(draw(st.integers(0, 2))))]


def after(snapshot, plan, seconds=0.0):
    """The picture when a plan has been applied, and so much time has gone by."""
    gone = {*drains(plan), *withdrawals(plan)}
    workers = [one for one in snapshot.workers if one.id not in gone]
    new = [ordered(f"n{n}{snapshot.now_s}") for n, _ in enumerate(launches(plan))]
    memory = json.loads(json.dumps(dict(plan.memory)))
    return replace(snapshot, workers=(*workers, *new), memory=memory, now_s=snapshot.now_s + seconds)


@given(names, groups, fleets())
def test_deciding_twice_in_the_same_instant_buys_and_ends_nothing_more(name, waiting, workers):
    policy = counted(name, **EAGER[name])
    snapshot = picture(*waiting, workers=workers)
    again = after(snapshot, planned(snapshot, policy))
    second = planned(again, policy)
    assert launches(second) == drains(second) == withdrawals(second) == []
    assert planned(snapshot, policy) == planned(snapshot, policy)


@settings(max_examples=60)
@given(names, groups, fleets(), st.lists(st.floats(0.1, 400), max_size=6))
def test_never_above_the_most_and_never_below_the_least(name, waiting, workers, steps_s):
    policy = counted(name, **EAGER[name])
    check_knobs(name, policy.knobs)
    least = 0 if name == "concurrency" else 5 if name == "static" else 1
    most = max(5 if name == "static" else 20, len(workers))
    snapshot = picture(*waiting, workers=workers)
    for seconds in (0.0, *steps_s):
        snapshot = after(snapshot, planned(snapshot, policy), seconds)
        assert least <= len(snapshot.workers) <= most


@settings(max_examples=60)
@given(names, groups, fleets(), st.dictionaries(KEYS, JSON, max_size=6), JSON)
def test_memory_that_is_anybodys_counts_as_nothing(name, waiting, workers, pool, other):
    policy = counted(name, **EAGER[name])
    snapshot = picture(*waiting, workers=workers, now_s=100.0)
    for memory in ({"rule": name, "pools": {"csm": pool}}, {"rule": name, "pools": other}, {"pools": other}):
        plan = planned(replace(snapshot, memory=memory), policy)
        json.dumps(dict(plan.memory), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_is_bounded_and_forgotten_at_rest(name):
    world = Clockwork(counted(name, **EAGER[name]), boot_s=5, service_s=1)
    sizes = []
    for minute in range(6):
        world.run([60.0 * minute + second for second in range(50)], 60.0 * minute + 60)
        sizes.append(len(json.dumps(world.memory)))
    assert max(sizes) < 4000
    world.run([], 10_000)
    assert world.memory == {}
    assert world.look_s is None


@pytest.mark.parametrize("name", NAMES)
def test_a_clock_that_began_anew_stops_nothing(name):
    policy = counted(name, **EAGER[name])
    old = planned(picture(jobs(3, oldest_age_s=60), now_s=1e6), policy)
    snapshot = picture(jobs(3, oldest_age_s=60), memory=old.memory, now_s=0.0)
    assert launches(planned(snapshot, policy))


def test_idle_longest_goes_first_and_busy_never():
    workers = [ready("w1", busy_s=500), ready("w2", idle_s=9), ready("w3", idle_s=90), ready("w4", idle_s=1)]
    assert drains(planned(picture(workers=workers), counted("static", workers=2))) == ["w2", "w3"]
    assert drains(planned(picture(workers=workers), counted("static", workers=0))) == ["w2", "w3", "w4"]


def test_an_owners_machine_counts_and_is_never_let_go():
    workers = [ready("mine", owned=True, idle_s=900), ready("w1", idle_s=1)]
    assert drains(planned(picture(workers=workers), counted("static", workers=1))) == ["w1"]
    assert drains(planned(picture(workers=workers), counted("static", workers=0))) == ["w1"]


def test_intents_that_nobody_wants_are_withdrawn():
    plan = planned(picture(jobs(1), workers=[intent("t1", 9), intent("t2", 9)]), counted("queue_length"))
    assert withdrawals(plan) == ["t2"]


def test_a_paused_worker_is_no_supply_and_idles_out_as_ever():
    workers = [ready("w1", paused=True, idle_s=299), ready("w2", paused=True, idle_s=301)]
    plan = planned(picture(jobs(), workers=workers), counted("queue_length"))
    assert len(launches(plan)) == 1
    assert drains(plan) == ["w2"]


def test_each_engine_has_its_pool_and_the_least_is_the_fleets():
    both = [offer(capabilities=(CSM,)), offer("ears", 0.5, capabilities=(WHISPER,))]
    waiting = [jobs(2), jobs(1, of=need("whisper"))]
    plan = planned(picture(*waiting, offers=both), counted("queue_length", min_replicas=4))
    assert sorted(one.provider for one in launches(plan)) == ["cloud", "cloud", "ears", "ears"]


def test_a_worker_of_several_engines_is_counted_once():
    both = offer(capabilities=(CSM, WHISPER))
    workers = [ready("w1", capabilities=(CSM, WHISPER)), ready("w2", capabilities=(CSM, WHISPER), busy_s=4)]
    waiting = [jobs(1), jobs(1, of=need("whisper"))]
    plan = planned(picture(*waiting, workers=workers, offers=[both]), counted("queue_length"))
    assert len(launches(plan)) == 1
    assert drains(plan) == []


def test_what_asks_for_another_machine_has_a_pool_of_its_own():
    large = offer("big", 3.0, gpu_class="h100")
    waiting = [jobs(2), jobs(1, of=need(gpu_class="h100"))]
    plan = planned(
        picture(*waiting, offers=[large, offer()], workers=[ready("w1"), ready("w2")]),
        counted("queue_length"),
    )
    assert [one.provider for one in launches(plan)] == ["big"]


def test_the_cheapest_that_fits_and_then_the_next():
    offers = [offer("dear", 2.0), offer("cheap", 1.0, count_max=1), offer("cold", 0.5, cooled_s=9)]
    plan = planned(picture(jobs(3), offers=offers), counted("queue_length"))
    assert [one.provider for one in launches(plan)] == ["cheap", "dear", "dear"]


def test_a_fleet_before_any_job_is_of_the_cheapest_hour():
    plan = planned(picture(offers=[offer("dear", 2.0), offer("cheap", 0.5)]), counted("static", workers=2))
    assert [one.provider for one in launches(plan)] == ["cheap", "cheap"]


def test_low_priority_asks_for_nothing():
    plan = planned(picture(jobs(3, of=need(low_priority=True))), counted("queue_length"))
    assert plan.actions == ()
    assert codes(plan) == ["low_priority"]


def test_what_stands_in_the_way_is_said():
    policy = replace(counted("queue_length"), limits=Limits(workers_max=2))
    assert codes(planned(picture(jobs(5), workers=[ready("w1")]), policy)) == ["budget_workers"]
    assert codes(planned(picture(jobs(5), offers=[offer(cooled_s=9)]), policy)) == ["cooling"]
    assert codes(planned(picture(jobs(of=need("unheard"))), policy)) == ["no_offer"]
    few = counted("queue_length", max_replicas=1)
    apart = picture(
        jobs(), jobs(of=need("whisper")), offers=[offer(), offer("ears", capabilities=(WHISPER,))]
    )
    assert "policy_max" in codes(planned(apart, few))


def test_a_plan_that_is_full_is_gone_on_with_soon():
    policy = replace(counted("queue_length"), launches_per_step_max=2)
    plan = planned(picture(jobs(5)), policy)
    assert len(launches(plan)) == 2
    assert plan.look_again_s == 1.0


def test_launches_are_delayed_only_if_the_policy_says_so():
    [launch] = launches(planned(picture(jobs(), draws=(0.5,)), counted("queue_length")))
    assert isinstance(launch, Launch)
    assert launch.delay_s == 0
    later = replace(counted("queue_length"), launch_delay_s_min=2.0, launch_delay_s_max=4.0)
    [launch] = launches(planned(picture(jobs(), draws=(0.5,)), later))
    assert launch.delay_s == 3.0

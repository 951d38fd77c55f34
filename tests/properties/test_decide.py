"""Whatever the picture: plans are lawful, the same for the same picture, and settle."""

from dataclasses import replace
from time import process_time

from decide_pictures import after, later, policies, snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.check import check
from scaling.decide import decide
from scaling.limits import NO_LIMITS, RunningCounts, RunningLimits, has_room
from scaling.plan import Buy, Drain, Launch, Stop, Withdraw
from scaling.policy import Limits, Policy
from scaling.snapshot import Capability, JobGroup, Need, Offer, Running, Snapshot, WorkerView
from scaling.states import WorkerState

TURNS_MAX = 60


def acted(plan, kind):
    return [one for one in plan.actions if isinstance(one, kind)]


@given(snapshots, policies)
@settings(max_examples=80, deadline=None)
def test_every_plan_is_lawful(snapshot, policy):
    check(snapshot, policy, decide(snapshot, policy))


@given(snapshots, policies, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_what_is_seen_changes_nothing(snapshot, policy, shuffler):
    def shuffled(items):
        return tuple(shuffler.sample(items, len(items)))

    other = replace(
        snapshot,
        groups=shuffled(snapshot.groups),
        workers=shuffled(snapshot.workers),
        offers=shuffled(snapshot.offers),
    )
    assert decide(other, policy) == decide(snapshot, policy) == decide(snapshot, policy)


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_no_plan_withdraws_what_it_orders(snapshot, policy):
    plan = decide(snapshot, policy)
    workers = {one.id: one for one in snapshot.workers}
    ordered = {(one.provider, one.gpu_class, one.usd_per_hour) for one in acted(plan, Launch)}
    for action in acted(plan, Withdraw):
        worker = workers[action.worker_id]
        kind = (worker.provider, worker.gpu_class, worker.usd_per_hour)
        assert kind not in ordered or action.reason != "no job needs it any more"


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_a_live_worker_with_a_job_is_never_stopped(snapshot, policy):
    workers = {one.id: one for one in snapshot.workers}
    for action in acted(decide(snapshot, policy), Stop):
        worker = workers[action.worker_id]
        overdue = worker.state is WorkerState.DRAINING and worker.state_age_s > policy.drain_s_max
        silent = (
            worker.probe_failures >= 3 if worker.silent_s is None else worker.silent_s > policy.silent_s_max
        )
        assert not worker.busy or overdue or silent


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_low_priority_never_launches(snapshot, policy):
    low = tuple(replace(one, need=replace(one.need, low_priority=True)) for one in snapshot.groups)
    plan = decide(replace(snapshot, groups=low), policy)
    assert acted(plan, Launch) == acted(plan, Buy) == []


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_low_priority_asks_for_nothing_beside_others(snapshot, policy):
    """What is launched is the same with and without the jobs that only ride."""
    paying = tuple(one for one in snapshot.groups if not one.need.low_priority)
    alone = decide(replace(snapshot, groups=paying), policy)
    launched = [(one.provider, one.gpu_class) for one in acted(decide(snapshot, policy), Launch)]
    assert launched == [(one.provider, one.gpu_class) for one in acted(alone, Launch)]


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_deciding_again_on_what_was_decided_buys_nothing_more(snapshot, policy):
    """Nothing is withdrawn and no cap holds back: then the state that a plan leads to asks for no more."""
    plan = decide(snapshot, policy)
    if acted(plan, Withdraw) or len(acted(plan, Launch)) >= policy.launches_per_step_max:
        return
    again = decide(after(snapshot, plan, 0), policy)
    assert acted(again, Launch) == acted(again, Withdraw) == []


@given(snapshots, policies)
@settings(max_examples=80, deadline=None)
def test_a_fleet_settles_and_withdraws_nothing_that_it_launched(snapshot, policy):
    """With at most ten workers: without a limit, a launch a step for thousands of jobs takes thousands of steps."""
    most = 10 if policy.limits.workers_max is None else policy.limits.workers_max
    policy = replace(policy, limits=replace(policy.limits, workers_max=most))
    for turn in range(TURNS_MAX):
        plan = decide(snapshot, policy)
        check(snapshot, policy, plan)
        assert not [one for one in acted(plan, Withdraw) if one.worker_id.startswith("new-")]
        if not any(acted(plan, kind) for kind in (Launch, Buy, Withdraw, Drain, Stop)):
            return
        snapshot = later(after(snapshot, plan, turn), 30.0)
    raise AssertionError("still acting after so many turns in which nothing happened")


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_without_budgets_nothing_is_blocked_by_a_budget_and_no_less_is_launched(snapshot, policy):
    prices = {one.usd_per_hour for one in snapshot.offers}
    rich = replace(policy, limits=Limits(None, None), provider_limits={}, usd_per_day_max=None)
    plan = decide(snapshot, rich)
    assert not [one for one in plan.blocked if one.code.startswith("budget")]
    if len(prices) <= 1:
        assert len(acted(plan, Launch)) >= len(acted(decide(snapshot, policy), Launch))


@given(snapshots, policies, st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_more_workers_allowed_never_blocks_more(snapshot, policy, workers_max):
    unbound = replace(snapshot, limits=NO_LIMITS)

    def blocked(most):
        allowed = replace(policy, limits=Limits(most), provider_limits={}, usd_per_day_max=None)
        return {one.need for one in decide(unbound, allowed).blocked if one.need}

    assert blocked(workers_max + 1) <= blocked(workers_max)


@given(snapshots, policies)
@settings(max_examples=20, deadline=None)
def test_a_job_alone_in_the_world_always_gets_a_machine(snapshot, policy):
    """Scale from zero: whatever is known, an offer that fits and may be had is taken."""
    sold = Offer("local", "a10", 0.0, (Capability("csm"),))
    alone = replace(snapshot, limits=NO_LIMITS, workers=(), offers=(sold,), usd_today=0.0)
    one = replace(alone, groups=(JobGroup(Need("csm"), 1),))
    free = replace(policy, limits=Limits(1), provider_limits={}, usd_per_day_max=None)
    assert len(acted(decide(one, free), Launch)) == 1


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_jobs_that_a_limit_holds_back_ask_for_nothing_and_are_told_so(snapshot, policy):
    held = [
        one
        for one in snapshot.groups
        if one.count and not has_room(one.need, snapshot.limits, snapshot.running)
    ]
    plan = decide(snapshot, policy)
    told = {one.need for one in plan.blocked}
    assert {one.need for one in held} <= told
    free = replace(snapshot, groups=tuple(one for one in snapshot.groups if one not in held))
    assert acted(decide(free, policy), Buy) == acted(plan, Buy)
    launched = [(one.provider, one.gpu_class) for one in acted(plan, Launch)]
    assert launched == [(one.provider, one.gpu_class) for one in acted(decide(free, policy), Launch)]


@given(snapshots, policies, st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_more_is_launched_for_an_owner_than_may_still_begin(snapshot, policy, most, running):
    ours = tuple(
        {(own := replace(one.need, owner="ann")): replace(one, need=own) for one in snapshot.groups}.values()
    )
    limits, counts = RunningLimits(owners={"ann": most}), RunningCounts(owners={"ann": running})
    bound = replace(snapshot, groups=ours, limits=limits, running=counts)
    assert len(acted(decide(bound, policy), Launch)) <= max(0, most - running)


@given(snapshots, policies)
@settings(max_examples=60, deadline=None)
def test_a_limit_that_nobody_reaches_changes_nothing(snapshot, policy):
    wide = RunningLimits(*(dict.fromkeys(("ann", "bob", "film", "long"), 10**9) for _ in range(3)))
    unbound = replace(snapshot, limits=NO_LIMITS)
    assert decide(replace(snapshot, limits=wide), policy) == decide(unbound, policy)


def test_a_thousand_groups_and_hundreds_of_workers_are_decided_in_a_moment():
    """A bound far above what it takes, for slow machines; the cost does not grow with the queue's length."""
    capability = tuple(Capability(engine, models=("m", "n")) for engine in ("csm", "whisper", "blender"))
    workers = tuple(_worker(number, capability) for number in range(500))
    groups = tuple(_group(number) for number in range(2000))
    offers = tuple(Offer(f"p{p}", f"g{g}", 1.0 + p, capability) for p in range(4) for g in range(3))
    snapshot = Snapshot(groups, workers, offers)
    began = process_time()
    decide(snapshot, Policy(limits=Limits(1000)))
    assert process_time() - began < 1.0


def _worker(number, capability):
    busy = number % 4 != 0
    return WorkerView(
        id=f"w{number:03}",
        provider=f"p{number % 4}",
        state=WorkerState.READY,
        gpu_class=f"g{number % 3}",
        capabilities=capability,
        running=(Running("csm", "m", number % 60, 500.0),) if busy else (),
        idle_s=None if busy else 5.0,
        silent_s=1.0,
        claim_silent_s=0.0,
    )


def _group(number):
    need = Need(
        ("csm", "whisper", "blender")[number % 3],
        ("m", "n", None)[number % 7 % 3],
        owner=f"owner-{number}",
        priority=number % 11 - 5,
        avoid=(f"w{number % 500:03}",) if number % 50 == 0 else (),
    )
    return JobGroup(need, 50, oldest_age_s=number % 100, slack_s=number % 3600)

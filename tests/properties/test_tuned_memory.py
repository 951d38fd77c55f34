"""What the policy remembers: JSON, bounded, and worth nothing where it is not its own."""

import json
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tuned_pictures import LEARNED, SERVES, TUNED, pictures, tuned_policies

from scaling.decide import decide
from scaling.policy import Limits, Policy
from scaling.snapshot import JobGroup, Need, Offer, Running, Snapshot, WorkerView
from scaling.states import WorkerState

POLICY = Policy(name=TUNED, target_p95_s=90.0, limits=Limits(None, None))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", "x", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(pictures(), tuned_policies)
@settings(max_examples=40, deadline=None)
def test_memory_is_json_and_is_read_as_it_was_written(snapshot, policy):
    plan = decide(snapshot, policy)
    stored = json.loads(json.dumps(plan.memory, allow_nan=False))
    assert sorted(stored) == sorted(LEARNED)
    assert decide(replace(snapshot, memory=stored), policy) == decide(
        replace(snapshot, memory=plan.memory), policy
    )


@given(pictures(), tuned_policies, JSON)
@settings(max_examples=40, deadline=None)
def test_what_another_wrote_is_the_same_as_nothing(snapshot, policy, foreign):
    nothing = decide(replace(snapshot, memory={}), policy)
    assert decide(replace(snapshot, memory=foreign), policy) == nothing
    assert decide(replace(snapshot, memory={"counts": foreign, "log_price": 3.0}), policy) == nothing


def worker(number, usd_per_hour=1.0, model="m"):
    return WorkerView(
        id=f"w{number}",
        provider="cloud",
        state=WorkerState.READY,
        gpu_class="a10",
        usd_per_hour=usd_per_hour,
        capabilities=SERVES,
        resident=(f"csm/{model}",),
        running=(Running("csm", model, 10.0, 1000.0),),
        silent_s=1.0,
        claim_silent_s=0.0,
        lease_age_s=4000.0,
    )


def sizes(looks, seen):
    """The size of what is remembered after each of these looks."""
    memory, found = {}, []
    for turn in range(looks):
        snapshot = replace(seen(turn), now_s=60.0 * turn, memory=memory)
        memory = decide(snapshot, POLICY).memory
        found.append(len(json.dumps(memory)))
    return found


def test_memory_grows_with_the_fleet_and_not_with_time_or_models():
    dice = random.Random(5)
    offers = (Offer("cloud", "a10", 1.0, SERVES),)

    def seen(turn):
        busy = dice.choice((0, 0, 5, 20, 40))
        jobs = tuple(JobGroup(Need("csm", "m", owner=f"owner-{turn}-{one}"), 2, 5.0) for one in range(3))
        return Snapshot(
            groups=jobs,
            workers=tuple(worker(one, model=f"m{turn}") for one in range(busy)),
            offers=offers,
            waits_s=(float(turn % 200),),
        )

    found = sizes(600, seen)
    assert max(found[400:]) <= 1.1 * max(found[:400])
    assert max(found) < 40_000

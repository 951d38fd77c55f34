"""Whatever the picture: plans are lawful where machines may be taken away, and say nothing of parts of groups."""

from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tuned_pictures import busy_pictures

from scaling.check import check
from scaling.decide import decide
from scaling.plan import Launch
from scaling.policy import Policy


@st.composite
def tiered(draw):
    """The offer twice: also as a cheap one that may be taken away, of which some machines are; and jobs in a hurry."""
    seen, target_s = draw(busy_pictures())
    [sure] = seen.offers
    cheap = replace(sure, usd_per_hour=0.1, life_mean_s=draw(st.sampled_from([30.0, 400.0, 36_000.0])))
    workers = tuple(
        replace(one, usd_per_hour=draw(st.sampled_from([0.1, sure.usd_per_hour]))) for one in seen.workers
    )
    groups = tuple(
        replace(one, slack_s=draw(st.sampled_from([None, 5.0, 100.0, 400.0, 1500.0, 4000.0])))
        for one in seen.groups
    )
    snapshot = replace(seen, offers=(sure, cheap), workers=workers, groups=groups)
    name = draw(st.sampled_from(["whatif", "whatif", "fixed", "queue_length"]))
    return snapshot, Policy(name=name, target_p95_s=target_s)


@given(tiered())
@settings(max_examples=100, deadline=None)
def test_plans_are_lawful_and_the_same_for_the_same_picture(picture):
    snapshot, policy = picture
    plan = decide(snapshot, policy)
    check(snapshot, policy, plan)
    assert decide(snapshot, policy) == plan
    prices = sorted({one.usd_per_hour for one in plan.actions if isinstance(one, Launch)})
    event(f"stays: {bool(plan.patience and plan.patience.stays)}, launches at {prices}")


@given(tiered())
@settings(max_examples=100, deadline=None)
def test_jobs_that_fall_back_are_told_apart_inside_only(picture):
    snapshot, policy = picture
    plan = decide(snapshot, policy)
    counts = {one.need: one.count for one in snapshot.groups}
    assert all(one.count <= counts[one.need] for one in plan.holds)
    assert len({one.need for one in plan.holds}) == len(plan.holds)
    assert all(one.need in counts for one in plan.blocked if one.need is not None)

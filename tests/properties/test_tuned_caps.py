"""Whatever the picture: no cap is exceeded, counted here anew, over many looks that are carried out."""

from collections import Counter
from dataclasses import replace
from math import fsum

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tuned_pictures import busy_pictures, launches, older, pictures, tuned_policies, turned

from scaling.decide import decide
from scaling.policy import Limits
from scaling.states import WorkerState

LOOKS = 6
LOOK_S = 3.0
UNSOLD = (WorkerState.INTENDED, WorkerState.CREATING)


def leased(snapshot, provider=None):
    """All that is paid for or may have to be."""
    return [
        one
        for one in snapshot.workers
        if one.state is not WorkerState.GONE and not one.owned and provider in (None, one.provider)
    ]


def within(limits, workers):
    most, usd = limits.workers_max, limits.usd_per_hour_max
    return (most is None or len(workers) <= most) and (
        usd is None or fsum(one.usd_per_hour for one in workers) <= usd + 1e-6
    )


def check_caps(snapshot, policy, plan):
    """What is there now may be above a limit that came down; what a plan adds may not."""
    ordered = launches(plan)
    if not ordered:
        return False
    assert len(ordered) <= policy.launches_per_step_max
    assert policy.usd_per_day_max is None or snapshot.usd_today < policy.usd_per_day_max
    assert within(policy.limits, [*leased(snapshot), *ordered])
    for provider in {one.provider for one in ordered} & policy.provider_limits.keys():
        theirs = [one for one in ordered if one.provider == provider]
        assert within(policy.provider_limits[provider], [*leased(snapshot, provider), *theirs])
    unsold = Counter((one.provider, one.gpu_class) for one in snapshot.workers if one.state in UNSOLD)
    asked = Counter((one.provider, one.gpu_class) for one in ordered)
    for offer in snapshot.offers:
        kind = (offer.provider, offer.gpu_class)
        assert not asked[kind] or unsold[kind] + asked[kind] <= offer.count_max
    return True


def follow(snapshot, policy):
    bought = False
    for turn in range(LOOKS):
        plan = decide(snapshot, policy)
        bought |= check_caps(snapshot, policy, plan)
        snapshot = older(turned(snapshot, plan, turn), LOOK_S)
    event(f"buys: {bought}")


@given(pictures(), tuned_policies)
@settings(max_examples=40, deadline=None)
def test_no_cap_is_exceeded(snapshot, policy):
    follow(snapshot, policy)


@given(
    busy_pictures(),
    tuned_policies,
    st.builds(Limits, st.sampled_from([None, 1, 4, 9]), st.sampled_from([None, 0.9, 3.3])),
    st.sampled_from([0, 2, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_no_cap_is_exceeded_where_much_is_asked_for(picture, policy, limits, count_max):
    snapshot, target_s = picture
    tight = replace(
        policy, target_p95_s=target_s, provider_limits={"cloud": limits} if limits.workers_max else {}
    )
    offers = tuple(replace(one, count_max=count_max) for one in snapshot.offers)
    follow(replace(snapshot, offers=offers), tight)
    follow(replace(snapshot, offers=offers), replace(tight, limits=limits, provider_limits={}))

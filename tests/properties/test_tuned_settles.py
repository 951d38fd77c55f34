"""Whatever the picture: what was ordered is not ordered again at the same moment."""

from dataclasses import replace

from hypothesis import event, given, settings
from tuned_pictures import TUNED, busy_pictures, launches, turned, withdrawals

from scaling.decide import decide
from scaling.policy import Limits, Policy

ROOMY = Policy(name=TUNED, limits=Limits(None, None), launches_per_step_max=1000)
"""More launches a look than any picture asks for, so that none is left for the next."""


def first_look(picture):
    snapshot, target_s = picture
    policy = replace(ROOMY, target_p95_s=target_s)
    # What the first look of all learns, the second goes by.
    snapshot = replace(snapshot, memory=decide(snapshot, policy).memory)
    plan = decide(snapshot, policy)
    event(f"orders: {bool(launches(plan))}")
    return snapshot, policy, plan


@given(busy_pictures())
@settings(max_examples=100, deadline=None)
def test_deciding_again_at_the_same_moment_orders_nothing(picture):
    snapshot, policy, plan = first_look(picture)
    again = decide(turned(snapshot, plan, 0), policy)
    assert launches(again) == withdrawals(again) == []

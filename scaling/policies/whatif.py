"""Launch when the earliest free slot is later than a machine ordered now, by the what-if walk.

Where boot is not billed, a machine too many costs nothing until it is ready, and so every uncovered job asks
for one. Where it is, waiting for a slot that is free sooner is the cheaper choice.
"""

from scaling.demand.walk import Demand, Rule, Scene, demand
from scaling.policy import Policy
from scaling.snapshot import Offer


def whatif(scene: Scene) -> Demand:
    return demand(scene, Rule(eager=lambda offer: not offer.boot_billed, delay_s=_delay_s))


def _delay_s(policy: Policy, offer: Offer) -> tuple[float, float]:
    """None, unless the policy sets one."""
    return policy.launch_delay_s(offer.provider, 0.0, 0.0)

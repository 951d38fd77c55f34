"""The rule of the reference systems: reuse first, one launch per uncovered job, after a random delay."""

from scaling.demand.walk import Demand, Scene, demand
from scaling.policy import Policy
from scaling.snapshot import Offer

DELAY_S_MIN = 15.0
DELAY_S_MAX = 30.0


def fixed(scene: Scene) -> Demand:
    return demand(scene, _delay_s)


def _delay_s(policy: Policy, offer: Offer) -> tuple[float, float]:
    """The delay saves paid boots; where a boot costs nothing there is none, unless the policy sets one."""
    paid = offer.boot_billed and offer.usd_per_hour > 0
    return policy.launch_delay_s(offer.provider, DELAY_S_MIN * paid, DELAY_S_MAX * paid)

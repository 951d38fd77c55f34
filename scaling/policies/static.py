"""A fleet of a fixed size: so many workers, whatever the queue is."""

from scaling.policies.counted import CountRule, Load, Target
from scaling.policies.knobs import Knob, Values

KNOBS = (Knob("workers", 1, 0, 10_000, "how many workers there are", whole=True),)


def _step(load: Load, knobs: Values) -> Target:
    """No pool asks for any; the fleet's least is what keeps them."""
    del load, knobs
    return Target(0)


static = CountRule("static", KNOBS, _step, least="workers", most="workers")

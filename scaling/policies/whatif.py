"""A target wait at the least cost: what would happen to each job, and what one machine more or less would change.

Machines are ordered at the last moment that lets jobs begin within the target, kept as long as that is cheaper than
to start them anew, and given jobs whose model they have. docs/policies.md tells more.
"""

from scaling.demand.walk import Demand, Scene
from scaling.policies.knobs import Knob
from scaling.whatif.forecast import KNOB
from scaling.whatif.look import Look

KNOBS = (
    Knob(
        KNOB, 1, 0, 1, "1: what is needed by the time of day is used where that helps; 0: never", whole=True
    ),
)


def whatif(scene: Scene) -> Demand:
    return Look(scene).demand()

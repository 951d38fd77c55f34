"""The one knob: how long nineteen jobs of twenty may wait."""

import math
from collections.abc import Mapping

from scaling.estimate import LOAD_PRIOR, Times
from scaling.policy import Aim, Policy
from scaling.snapshot import Snapshot

STARTS: Mapping[Aim, float] = {"cheap": 3.0, "balanced": 1.2, "fast": 0.6}
"""The target of an aim, in starts: a boot and a load of the machine that is ordered."""
TARGET_S_MIN = 5.0
UNKNOWN_S = 60.0
"""A boot, where nothing is for sale."""


def target_of(policy: Policy, snapshot: Snapshot, times: Times) -> float:
    """Seconds: what the policy says, or what its aim makes of the quickest start among what is for sale."""
    if policy.target_p95_s is not None:
        return policy.target_p95_s
    boots_s = (times.boot(one.provider, one.gpu_class).mean_s for one in snapshot.offers)
    start_s = min(boots_s, default=UNKNOWN_S) + usual_load_s(snapshot)
    return max(TARGET_S_MIN, STARTS[policy.aim] * start_s)


def usual_load_s(snapshot: Snapshot) -> float:
    """The load of a model, as models go here."""
    loads = snapshot.estimates.load.values()
    return math.fsum(one.mean_s for one in loads) / len(loads) if loads else LOAD_PRIOR.mean_s

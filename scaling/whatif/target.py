"""The one knob: how long nineteen jobs of twenty may wait."""

from collections.abc import Iterable, Mapping

from scaling.demand.catalogue import Fit
from scaling.estimate import Times
from scaling.policy import Aim, Policy
from scaling.snapshot import Need

STARTS: Mapping[Aim, float] = {"cheap": 3.0, "balanced": 1.2, "fast": 0.6}
"""The target of an aim, in starts: a boot and a load of the machine that is ordered."""
TARGET_S_MIN = 5.0
UNKNOWN_S = 60.0


def target_of(policy: Policy, fits: Iterable[tuple[Need, Fit]], times: Times) -> float:
    """Seconds: what the policy says, or what its aim makes of the quickest start among what could be ordered."""
    if policy.target_p95_s is not None:
        return policy.target_p95_s
    starts_s = [fit.boot_s + times.load(need, fit.offer.gpu_class).mean_s for need, fit in fits]
    return max(TARGET_S_MIN, STARTS[policy.aim] * min(starts_s, default=UNKNOWN_S))

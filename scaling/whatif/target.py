"""The one knob: how long nineteen jobs of twenty may wait."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scaling.estimate import LOAD_PRIOR, Times
from scaling.policy import Aim, Policy
from scaling.snapshot import Snapshot
from scaling.whatif.boots import boot_of

AIMS: Mapping[Aim, tuple[float, float]] = {"cheap": (2.5, 4.0), "balanced": (0.8, 2.0), "fast": (0.4, 1.0)}
"""The target of an aim: so many boots of the machine that is ordered, and so many loads of a model."""
TARGET_S_MIN = 5.0
UNKNOWN_S = 60.0
"""A boot, where nothing is for sale."""


@dataclass(frozen=True, slots=True)
class Target:
    """Seconds. `start_s` is the quickest start of what is for sale, a boot and a load, and `hard` the share of such
    boots that are too long for a job that comes.
    """

    wait_s: float
    start_s: float
    hard: float


def target_of(policy: Policy, snapshot: Snapshot, times: Times, load_s: float) -> Target:
    """What the policy says, or what its aim makes of the quickest boot."""
    known = [boot_of(times.boot(one.provider, one.gpu_class)) for one in snapshot.offers]
    boot = min(known, key=lambda one: one.mean_s, default=None)
    boot_s = boot.mean_s if boot else UNKNOWN_S
    boots, loads = AIMS[policy.aim]
    wait_s = policy.target_p95_s or max(TARGET_S_MIN, boots * boot_s + loads * load_s)
    return Target(wait_s, boot_s + load_s, 1.0 - boot.share_below(wait_s - load_s) if boot else 0.0)


def usual_load_s(snapshot: Snapshot) -> float:
    """The load of a model, as models go here."""
    loads = snapshot.estimates.load.values()
    return math.fsum(one.mean_s for one in loads) / len(loads) if loads else LOAD_PRIOR.mean_s

"""Runs of the policy that learns: streams without and with chance, and means over paired seeds."""

import math
import random
from dataclasses import replace
from statistics import fmean

from small_traces import run

from scaling.policy import Policy
from scaling.simulate import Row
from scaling.simulate.scenario import BUILT_IN

TUNED = "whatif"
"""The policy under test."""
COMPUT3, SALAD = BUILT_IN["comput3"], BUILT_IN["salad"]
SEEDS = (0, 1, 2)


def tuned(target_s, **settings):
    return Policy(name=TUNED, target_p95_s=target_s, **settings)


def steady(gap_s, service_s, jobs, models=1):
    """The same gap and the same service each time, the models in turn."""
    return [Row(gap_s * number, service_s, f"M{number % models}") for number in range(jobs)]


def mixed(seed, jobs=100, gap_s=12.0, models=6, service_s=(3.0, 90.0)):
    """Jobs that come by chance; of the models the first are asked for most."""
    dice = random.Random(f"mixed-{seed}")
    rows, t_s = [], 0.0
    for _ in range(jobs):
        t_s += dice.expovariate(1 / gap_s)
        rows.append(
            Row(round(t_s, 3), round(dice.uniform(*service_s), 3), f"M{int(models * dice.random() ** 2)}")
        )
    return rows


def paired(policy, scenario=COMPUT3, seeds=SEEDS, **trace):
    """The same traces and the same luck for every policy that is tried."""
    return [run(mixed(seed, **trace), scenario, policy, seed)[0] for seed in seeds]


def mean(reports, figure):
    return fmean(getattr(one, figure) for one in reports)


def begun_at(events):
    """When each job was last begun, by its row."""
    return {one["job"]: one["t"] for one in events if one["e"] == "start"}


def leases(events):
    """(launch, ready or infinite, end) of each machine, in the order of their launches."""
    found = {}
    for one in events:
        if one["e"] == "launch":
            found[one["node"]] = (one["t"], math.inf, math.inf)
        elif one["e"] == "ready":
            found[one["node"]] = (found[one["node"]][0], one["t"], math.inf)
        elif one["e"] in ("terminate", "fail"):
            found[one["node"]] = (*found[one["node"]][:2], one["t"])
    return list(found.values())


def priced(scenario, usd_per_hour):
    return replace(scenario, offers=(replace(scenario.offers[0], usd_per_hour=usd_per_hour),))

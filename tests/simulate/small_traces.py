"""Small traces and worlds, made on the spot, and runs of them with their logs."""

import random

from scaling.policy import Policy
from scaling.simulate import Row, make_trace, simulate
from scaling.simulate.scenario import BUILT_IN, Boot, GpuClass, Scenario, Terms, Turns

COMPUT3 = BUILT_IN["comput3"]
FIXED = Policy(name="fixed", idle_s=60.0)
WHATIF = Policy(name="whatif", idle_s=60.0)


def busy_hour(jobs=120, models=4, seed=1):
    """Jobs of a few models in bursts, over about an hour."""
    dice = random.Random(seed)
    rows, t_s = [], 0.0
    for _ in range(jobs):
        t_s += dice.expovariate(1 / 30) * dice.choice((0.1, 0.2, 3.0))
        rows.append(Row(round(t_s, 3), round(dice.uniform(3, 90), 3), f"M{dice.randrange(models)}"))
    return rows


def spaced(*gaps_s, service_s=10.0, model="M0", **more):
    """A job after each gap."""
    rows, t_s = [], 0.0
    for gap_s in gaps_s:
        t_s += gap_s
        rows.append(Row(t_s, service_s, model, **more))
    return rows


def constant(boot_s=30.0, load_s=5.0, loop=None, **terms):
    """A world without chance: boots take `boot_s`, and none fails unless it is said."""
    offer = Terms("cloud", Boot(boot_s, boot_s), **({"fail_p": 0.0} | terms))
    return Scenario("constant", (offer,), {"gpu": GpuClass(load_s=load_s)}, loop or Turns())


def run(rows, scenario=COMPUT3, policy=WHATIF, seed=0, speed=1.0):
    """The report and the log of a run."""
    events = []
    report = simulate(make_trace(list(rows), speed), scenario, policy, seed, events.append)
    return report, events


def moments(events, kind):
    return [one["t"] for one in events if one["e"] == kind]

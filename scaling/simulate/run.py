"""One run: a trace, a world, a policy, a seed. The same four give the same report, to the last digit."""

import math
from dataclasses import replace

from scaling.policy import Limits, Policy
from scaling.simulate.draws import stream
from scaling.simulate.log import Log, first_line, silent
from scaling.simulate.looks import Looks
from scaling.simulate.report import Report
from scaling.simulate.scenario import Scenario
from scaling.simulate.trace import Trace
from scaling.simulate.world import World


def simulate(trace: Trace, scenario: Scenario, policy: Policy, seed: int, log: Log = silent) -> Report:
    """Runs the policy until all jobs are done; what is leased then ends at that moment.

    Bounds of the policy on workers and on launches a step that are at their defaults are raised to those of the
    scenario. Jobs that no machine may be bought for are left `unfinished`.

    Raises:
        PlanError: the policy made a plan that must not be applied.
        ValueError: there is no policy of that name.
    """
    log(first_line(scenario, seed, trace.speed))
    world = World(scenario, trace, seed, log)
    looks = Looks(world, roomy(policy, scenario), stream(seed, "policy"))
    arrivals, came, jobs = trace.arrivals, 0, len(trace.arrivals)
    while world.tally.finished < jobs:
        next_s = world.next_s()
        arrival_s = arrivals[came].t_s if came < jobs else math.inf
        if min(next_s, arrival_s) <= looks.due_s:
            if next_s <= arrival_s:
                world.happen()
            else:
                world.arrive(arrivals[came])
                came += 1
        elif looks.due_s == math.inf or (came == jobs and world.stuck(looks.due_s)):
            break
        else:
            looks.look()
        if world.changed:
            looks.nudge()
    world.close()
    return world.tally.report()


def roomy(policy: Policy, scenario: Scenario) -> Policy:
    """The policy with the scenario's bounds where it has the defaults, which are meant for a first fleet."""
    limits, defaults = policy.limits, Policy()
    if limits.workers_max == Limits().workers_max:
        limits = replace(limits, workers_max=scenario.workers_max)
    step = policy.launches_per_step_max
    if step == defaults.launches_per_step_max:
        step = scenario.launches_per_step_max
    return replace(policy, limits=limits, launches_per_step_max=step)

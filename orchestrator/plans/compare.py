"""Policies on the same jobs with the same luck, in a process of its own: `python -m orchestrator.plans.compare`.

A run is pure computation, so that a thread would hold up everything else. What is asked comes pickled from the
process that started this one; the answer is JSON.
"""

import json
import os
import pickle
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from scaling.check import PlanError
from scaling.policy import Policy
from scaling.simulate import Report, Scenario, Trace, simulate
from scaling.simulate.scenario import WORKERS_MAX

NICE = 10
"""Jobs and machines come first."""


@dataclass(frozen=True, slots=True)
class Trial:
    trace: Trace
    scenario: Scenario
    policies: tuple[Policy, ...]
    seeds: int


def compare(trial: Trial) -> list[dict[str, float]]:
    """The figures of each policy, in the mean of all seeds.

    Raises:
        PlanError: a policy made a plan that must not be applied.
    """
    return [_mean(_runs(trial, policy)) for policy in trial.policies]


def _runs(trial: Trial, policy: Policy) -> Iterable[Report]:
    """Bounds are the policy's own: those of the scenario would take the place of defaults."""
    most = policy.limits.workers_max
    scenario = replace(
        trial.scenario,
        workers_max=WORKERS_MAX if most is None else most,
        launches_per_step_max=policy.launches_per_step_max,
    )
    return (simulate(trial.trace, scenario, policy, seed) for seed in range(trial.seeds))


def _mean(reports: Iterable[Report]) -> dict[str, float]:
    rows = [asdict(one) for one in reports]
    return {name: fmean(row[name] for row in rows) for name in rows[0]}


def main() -> None:
    os.nice(NICE)
    trial: Trial = pickle.load(sys.stdin.buffer)  # noqa: S301  It comes from the process that started this one.
    try:
        answer: dict[str, object] = {"figures": compare(trial)}
    except PlanError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

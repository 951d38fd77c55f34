"""Another policy, tried on what this fleet did in the last hours, beside the one in force."""

import asyncio
import json
import os
import pickle
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from gpulease.contract.problems import ProblemError
from orchestrator.clock import Clock
from orchestrator.fleet.clouds.market import Market
from orchestrator.plans.compare import Trial
from orchestrator.plans.replay import NOT_MODELLED, scenario_of, speeds_of, trace_of
from orchestrator.store.past import PastJob
from orchestrator.store.protocol import Store
from scaling.policy import Policy
from scaling.simulate import Scenario
from scaling.states import WorkerState

JOBS_MAX = 2_000
RUN_S_MAX = 90.0
LEASED = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING, WorkerState.STOPPING)
"""What the providers do not count among what they have."""
INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")
"""The process that runs it sees no keys."""


@dataclass(slots=True)
class Trials:
    """One at a time."""

    store: Store
    clock: Clock
    market: Market
    period_s: float
    run_s_max: float = RUN_S_MAX
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def compare(self, policies: Sequence[Policy], hours: float, seeds: int) -> dict[str, Any]:
        """The figures of each policy on the jobs of the last hours, and what they are based on.

        Raises:
            ProblemError: 409, there is no history or nothing for sale; 429, another runs; 422, it takes too long.
        """
        if self._one.locked():
            raise ProblemError(429, "Another policy is being tried", "Wait for it, two minutes at most.")
        async with self._one:
            since = self.clock.now() - hours * 3600
            jobs = await self.store.finished_work(since=since, limit=JOBS_MAX + 1)
            more, jobs = len(jobs) > JOBS_MAX, jobs[-JOBS_MAX:]
            if not jobs:
                raise _no_basis(
                    f"No job that came in the last {hours:g} hours has succeeded. Ask for more hours."
                )
            scenario = await self._scenario(jobs)
            trial = Trial(trace_of(jobs, speeds_of(jobs)), scenario, tuple(policies), seeds)
            figures = await run(trial, self.run_s_max)
            return {
                "based_on": _basis(jobs, scenario, seeds) | {"hours": hours, "older_jobs_left_out": more},
                "figures": figures,
                "not_modelled": list(NOT_MODELLED),
            }

    async def _scenario(self, jobs: Sequence[PastJob]) -> Scenario:
        fleet = await self.store.read_fleet()
        leased = Counter(
            (one.provider, one.gpu_class, one.usd_per_hour) for one in fleet.workers if one.state in LEASED
        )
        offers = [
            replace(one, count_max=one.count_max + leased[one.provider, one.gpu_class, one.usd_per_hour])
            for one in self.market.offers()
        ]
        scenario = scenario_of(offers, jobs, fleet.boot, self.period_s)
        if not scenario.offers:
            raise _no_basis(
                "Nothing that could run these jobs is for sale now. Configure or enable a provider."
            )
        return scenario


async def run(trial: Trial, seconds: float) -> list[dict[str, float]]:
    """What `compare` says, from a process that ends with this call, whatever becomes of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.plans.compare"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate(pickle.dumps(trial))
    except TimeoutError:
        detail = f"It was not done after {seconds:g} s. Ask for fewer hours or seeds."
        raise ProblemError(422, "This is too much to try", detail) from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    answer = json.loads(said or b'{"error": "its process ended without an answer"}')
    if "error" in answer:
        raise ProblemError(422, "The policy cannot be tried on these jobs", answer["error"])
    figures: list[dict[str, float]] = answer["figures"]
    return figures


def _basis(jobs: Sequence[PastJob], scenario: Scenario, seeds: int) -> dict[str, Any]:
    work = Counter((one.need.engine, one.need.model) for one in jobs)
    return {
        "jobs": len(jobs),
        "since": _moment(jobs[0].created_at),
        "until": _moment(jobs[-1].created_at),
        "work": [
            {"engine": engine, "model": model, "jobs": count}
            for (engine, model), count in work.most_common(20)
        ],
        "service_s": sum(one.service_s for one in jobs),
        "offers": [asdict(one) for one in scenario.offers],
        "gpu_classes": {name: asdict(one) for name, one in scenario.gpu_classes.items()},
        "seeds": seeds,
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _no_basis(detail: str) -> ProblemError:
    return ProblemError(409, "There is nothing to try it on", detail)

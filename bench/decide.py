"""How long one decision takes, up to 10,000 workers and 100,000 jobs, beside sorting as many numbers.

    python bench/decide.py [--policy NAME] [--json]

Sorting tells how fast the machine is and how work of n log n grows: the ratio to it may fall as fleets grow, or stay.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scaling.decide import decide
from scaling.policy import Limits, Policy
from scaling.snapshot import (
    AGES_MAX,
    Capability,
    Estimate,
    Estimates,
    JobGroup,
    Need,
    Offer,
    Running,
    Snapshot,
    WorkerView,
)
from scaling.states import WorkerState

SIZES = ((100, 1_000), (1_000, 10_000), (3_000, 30_000), (10_000, 100_000))
ENGINE, MODELS = "comfyui", tuple(f"model-{number:03}" for number in range(60))


def estimates() -> Estimates:
    keys = [(ENGINE, model, "gpu") for model in MODELS]
    service = {key: Estimate(20.0 + number, 60.0 + number, 50) for number, key in enumerate(keys)}
    load = {key: Estimate(22.0, 30.0, 20) for key in keys}
    return Estimates(service, {("cloud", "gpu"): Estimate(50.0, 75.0, 100, 110.0)}, load)


def workers(count: int, dice: random.Random, capabilities: tuple[Capability, ...]) -> Iterator[WorkerView]:
    """Of ten machines seven are busy, two idle and one boots."""
    for number in range(count):
        model, kind = dice.choice(MODELS), number % 10
        run = Running(ENGINE, model, dice.uniform(0, 60), 600.0)
        starting, idle = kind == 0, kind in (1, 2)
        age_s = dice.uniform(0, 40)
        yield WorkerView(
            id=f"w{number:06}",
            provider="cloud",
            state=WorkerState.STARTING if starting else WorkerState.READY,
            gpu_class="gpu",
            vram_gb=24.0,
            usd_per_hour=1.0,
            capabilities=() if starting else capabilities,
            resident=() if starting else (f"{ENGINE}/{model}",),
            running=() if starting or idle else (run,),
            state_age_s=age_s,
            idle_s=age_s if idle else None,
            silent_s=None if starting else 0.0,
            claim_silent_s=None if starting else 0.0,
            lease_age_s=age_s,
        )


def groups(count: int, dice: random.Random) -> Iterator[JobGroup]:
    for model in MODELS:
        jobs = count // len(MODELS)
        ages_s = sorted((dice.uniform(0, 100) for _ in range(min(jobs, AGES_MAX))), reverse=True)
        yield JobGroup(Need(ENGINE, model), jobs, ages_s[0], None, tuple(ages_s))


def picture(worker_count: int, job_count: int, seed: int = 0) -> Snapshot:
    dice = random.Random(seed)
    capabilities = (Capability(ENGINE, models=MODELS),)
    return Snapshot(
        groups=tuple(groups(job_count, dice)),
        workers=tuple(workers(worker_count, dice, capabilities)),
        offers=(Offer("cloud", "gpu", 1.0, capabilities, vram_gb=24.0),),
        estimates=estimates(),
        waits_s=tuple(dice.uniform(0, 100) for _ in range(20)),
    )


def best_s(times: int, work: Callable[[], object]) -> float:
    """The least seconds of several tries: what disturbs only ever adds."""
    tries = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        tries.append(time.perf_counter() - begun)
    return min(tries)


def sorted_s(count: int, times: int) -> float:
    dice = random.Random(1)
    numbers = [dice.random() for _ in range(count)]
    return best_s(times, lambda: sorted(numbers))


def measure(policy: Policy, worker_count: int, job_count: int, times: int) -> dict[str, float]:
    first = picture(worker_count, job_count)
    memory = decide(first, policy).memory
    later = picture(worker_count, job_count)
    seen = Snapshot(
        groups=later.groups,
        workers=later.workers,
        offers=later.offers,
        estimates=later.estimates,
        waits_s=later.waits_s,
        now_s=5.0,
        memory=memory,
    )
    took_s, sort_s = best_s(times, lambda: decide(seen, policy)), sorted_s(job_count, times)
    return {
        "workers": worker_count,
        "jobs": job_count,
        "decide_ms": round(1e3 * took_s, 2),
        "sorted_ms": round(1e3 * sort_s, 3),
        "ratio": round(took_s / sort_s, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--policy", default="whatif")
    options.add_argument("--times", type=int, default=7)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    policy = Policy(name=given.policy, limits=Limits(workers_max=None), launches_per_step_max=100)
    rows = [measure(policy, *size, given.times) for size in SIZES]
    if given.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{name} {value:>9}" for name, value in row.items()))


if __name__ == "__main__":
    main()

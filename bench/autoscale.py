"""What every policy costs on a real trace, as documented and over a sweep of its knob, against its p95 wait.

Run: .venv/bin/python bench/autoscale.py --trace FILE [--jobs 8] [--verify CHECKER]
The whole takes hours of a core. Each run is a line of `--cache` as soon as it has ended, found again by policy, knobs,
scenario, speed, seed, trace and source, so that what was broken off goes on. Only a whole run writes docs/autoscale.md
and its picture; a part of it prints its tables, and writes them to `--out FOLDER`, if that is given.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from autoscaling.matrix import POLICIES, SCENARIOS, SEEDS, SPEEDS, cases, compared
from autoscaling.page import summary, write
from autoscaling.runs import Kept, Result, Run, RunFailed, run_all
from autoscaling.table import points

from scaling.simulate import TraceError, read_trace

ROOT = Path(__file__).parents[1]
HOW_TO_GET = """The trace is not part of this project. It is made of a public one:

  1. https://github.com/alibaba/clusterdata, folder cluster-trace-v2026-GenAI, lora_request_trace.tar.gz
  2. of the requests that have succeeded, in order of time, and of a period that you choose, one row each:
       t          gmt_create, in seconds since the first
       service_s  exec_time_seconds
       model      checkpoint_model_version_id
  3. .venv/bin/python bench/autoscale.py --trace that.csv

Any CSV file with the columns t, service_s, model will do; docs/simulate.md has the format."""


def options(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, metavar="FILE")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--speeds", nargs="+", type=float, default=list(SPEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "autoscale.jsonl")
    parser.add_argument(
        "--verify", type=Path, metavar="CHECKER", help="a program that takes TRACE LOG --json"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    return parser.parse_args(given)


def wanted(chosen: argparse.Namespace) -> list[Run]:
    """In the order of the tables. What our figures are of has all seeds, the sweeps of others the first."""
    return [
        Run(case, scenario, speed, seed)
        for scenario in chosen.scenarios
        for speed in chosen.speeds
        for case in cases(chosen.policies, scenario)
        for seed in (chosen.seeds if compared(case, scenario) else chosen.seeds[:1])
    ]


def whole(chosen: argparse.Namespace) -> bool:
    given = chosen.policies, chosen.scenarios, chosen.speeds, chosen.seeds
    return [set(one) for one in given] == [set(one) for one in (POLICIES, SCENARIOS, SPEEDS, SEEDS)]


def run(runs: Sequence[Run], chosen: argparse.Namespace) -> list[tuple[Run, Result]]:
    """All results in the order of `runs`; each is told as it comes."""
    found: dict[Run, Result] = {}
    begun_s = time.monotonic()
    for one, result in run_all(runs, chosen.trace, Kept(chosen.cache), chosen.jobs, chosen.verify):
        found[one] = result
        took_s = time.monotonic() - begun_s
        print(
            f"{len(found)}/{len(runs)} {took_s:.0f} s  {one.says()}: {result.ratio:.3f}, p95 {result.p95_s:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    return [(one, found[one]) for one in runs]


def main(given: Sequence[str] | None = None) -> int:
    chosen = options(given)
    if chosen.trace is None:
        print(f"--trace FILE is missing. {HOW_TO_GET}", file=sys.stderr)
        return 2
    try:
        jobs = len(read_trace(chosen.trace).arrivals)
        results = run(wanted(chosen), chosen)
    except TraceError as error:
        print(f"{error}\n\n{HOW_TO_GET}", file=sys.stderr)
        return 2
    except RunFailed as error:
        print(error, file=sys.stderr)
        return 1
    found = points(results)
    print(summary(found))
    folder = chosen.out or (ROOT / "docs" if whole(chosen) else None)
    if folder:
        write(found, jobs, folder, checked=chosen.verify is not None)
        print(f"\nwritten: {folder / 'autoscale.md'}, {folder / 'autoscale.svg'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

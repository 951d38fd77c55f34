"""An hour of a trace on `gpulease up` itself, in real time, beside what the simulator says of the same hour.

Run: .venv/bin/python bench/replay.py --trace FILE [--set target_p95_s=90] [--minutes 8 for a short look]
`gpulease up` leases from the emulated Comput3; the draws of the launches are the simulator's, machines have real
agents around an engine that sleeps. Exit status 1: cost or waits differ by more than is allowed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

sys.path.extend(str(Path(__file__).parents[1] / "tests" / one) for one in ("emulators", "e2e"))

from autoscale import HOW_TO_GET
from replaying.engine import ENGINE
from replaying.live import Outcome, replay

from gpulease.cli.policy.changes import policy_of
from orchestrator.loops import NUDGE_WINDOW_S
from provider_clients.comput3.client import BOOT
from provider_clients.comput3.config import Comput3Config
from scaling.estimate import estimate
from scaling.simulate import (
    Report,
    Row,
    Scenario,
    ScenarioError,
    Trace,
    TraceError,
    make_trace,
    read_scenario,
    read_trace,
    simulate,
)
from scaling.simulate.log import log_file
from scaling.simulate.run import roomy

LAUNCH_DELAY_S = 0.1
"""From a plan to its launch: one look at what is leased, and the call."""


@dataclass(frozen=True, slots=True)
class Compared:
    live: Outcome
    simulated: Report

    @property
    def cost_ratio(self) -> float:
        return self.live.cost_usd / self.simulated.cost_usd

    @property
    def p95_ratio(self) -> float:
        return self.live.wait_p95_s / self.simulated.wait_p95_s

    def agrees(self, cost_off: float, p95_off: float) -> bool:
        is_whole = not (self.live.unfinished or self.simulated.unfinished)
        return is_whole and abs(self.cost_ratio - 1) <= cost_off and abs(self.p95_ratio - 1) <= p95_off


def options(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, metavar="FILE")
    parser.add_argument("--speed", type=float, default=50.0)
    parser.add_argument("--from-s", type=float, default=4500.0, help="in seconds of the sped-up trace")
    parser.add_argument("--for-s", type=float, default=3600.0)
    parser.add_argument("--minutes", type=float, help="cuts it short")
    parser.add_argument("--scenario", default="comput3", help="with one offer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="whatif")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--launch-delay-s", type=float, default=LAUNCH_DELAY_S)
    parser.add_argument("--cost-off", type=float, default=0.1, help="how far cost may be off, as a share")
    parser.add_argument("--p95-off", type=float, default=0.2)
    parser.add_argument("--folder", type=Path, help="keeps data, logs and both event logs there")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(given)


def window(trace: Trace, from_s: float, for_s: float) -> Trace:
    """What comes in that time, as a trace of its own, of the engine that sleeps."""
    rows = [
        Row(t_s=one.t_s - from_s, service_s=one.service_s, model=one.model, engine=ENGINE)
        for one in trace.arrivals
        if from_s <= one.t_s < from_s + for_s
    ]
    if not rows:
        raise TraceError(f"nothing arrives from {from_s:g} to {from_s + for_s:g} s")
    return make_trace(rows)


def as_in_production(scenario: Scenario, launch_delay_s: float) -> Scenario:
    """The scenario with what holds at the real Comput3 client and the real loop. Of boots, one has been seen."""
    config = Comput3Config(api_key="")
    loop = replace(
        scenario.loop,
        nudge_s=NUDGE_WINDOW_S,
        launch_delay_s=launch_delay_s,
        launch_gap_s=config.patience.launch_gap_s,
    )
    terms = replace(
        scenario.offers[0],
        granularity_s=1.0,
        lease_s_max=config.lease_s,
        replace_after_s=config.replace_s,
        boot_prior=estimate([scenario.offers[0].boot.median_s], BOOT),
    )
    return replace(scenario, offers=(terms,), loop=loop)


def compare(chosen: argparse.Namespace, folder: Path) -> Compared:
    for_s = chosen.for_s if chosen.minutes is None else min(chosen.for_s, 60 * chosen.minutes)
    trace = window(read_trace(chosen.trace, chosen.speed), chosen.from_s, for_s)
    scenario = as_in_production(read_scenario(chosen.scenario), chosen.launch_delay_s)
    policy = roomy(policy_of(chosen.policy, chosen.changes), scenario)
    with log_file(folder / "simulated.jsonl") as log:
        simulated = simulate(trace, scenario, policy, chosen.seed, log)
    print(f"{len(trace.arrivals)} jobs in {for_s:g} s, in real time", file=sys.stderr, flush=True)
    live = asyncio.run(replay(trace, scenario, policy, chosen.seed, folder))
    return Compared(live, simulated)


def table(found: Compared) -> str:
    """Both beside each other, and live as a share of simulated."""
    live, simulated = asdict(found.live), asdict(found.simulated)
    lines = [f"{'':14}{'gpulease up':>14}{'simulator':>14}{'ratio':>8}"]
    for name, value in live.items():
        other = simulated.get(name)
        ratio = f"{value / other:8.3f}" if other else ""
        shown = "" if other is None else f"{other:14.2f}"
        lines.append(f"{name:14}{value:14.2f}{shown}{ratio}")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> int:
    chosen = options(given)
    if chosen.trace is None:
        print(f"--trace FILE is missing. {HOW_TO_GET}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="replay-") as temporary:
            folder = chosen.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            found = compare(chosen, folder)
    except (TraceError, ScenarioError) as error:
        print(error, file=sys.stderr)
        return 2
    except typer.Exit as ended:
        return ended.exit_code
    if chosen.json:
        ratios = {"cost_ratio": found.cost_ratio, "p95_ratio": found.p95_ratio}
        print(json.dumps({"live": asdict(found.live), "simulated": asdict(found.simulated), **ratios}))
    else:
        print(table(found))
    return 0 if found.agrees(chosen.cost_off, chosen.p95_off) else 1


if __name__ == "__main__":
    sys.exit(main())

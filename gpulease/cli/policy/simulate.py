"""`gpulease simulate`: what a policy would cost on a trace, and how long its jobs would wait."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpulease.cli.terminal import AsJson, duration, err, fail, show_json, show_table, usd

if TYPE_CHECKING:
    from scaling.policy import Policy
    from scaling.simulate import Report, Scenario, Trace
    from scaling.simulate.log import Event, Log

SILENT_S = 2.0
EVERY_S = 5.0


@dataclass(slots=True)
class Progress:
    """Says on stderr how far a run is that takes long, and passes the events on."""

    jobs: int
    log: "Log"
    done: int = 0
    tell_at: float = field(default_factory=lambda: time.monotonic() + SILENT_S)

    def __call__(self, event: "Event") -> None:
        self.log(event)
        self.done += event["e"] == "finish"
        now = time.monotonic()
        if now >= self.tell_at:
            self.tell_at = now + EVERY_S
            err.print(f"{self.done} of {self.jobs} jobs are done …", style="dim", markup=False)


def simulate(
    trace: Annotated[
        Path, typer.Option(help="CSV with the columns t,service_s,model; see docs/simulate.md.")
    ],
    scenario: Annotated[
        str, typer.Option(help="comput3, salad, salad-free, or a JSON file; see docs/simulate.md.")
    ] = "comput3",
    speed: Annotated[float, typer.Option(help="The times of arrival are divided by this.")] = 1.0,
    policy: Annotated[str, typer.Option(help="whatif, fixed, queue_length, …")] = "whatif",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting or knob of the policy; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed is the same luck, for every policy.")] = 0,
    events: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the event log here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Runs a policy on a trace in virtual time: what it would cost, and how long jobs would wait.

    For example: `gpulease simulate --trace jobs.csv --scenario salad --set target_p95_s=90`.
    """
    from gpulease.cli.policy.changes import bounded, policy_of
    from scaling.simulate import ScenarioError, TraceError, read_scenario, read_trace

    wanted = policy_of(policy, changes or [])
    try:
        world = bounded(read_scenario(scenario), wanted, changes or [])
        arrivals = read_trace(trace, speed)
    except (ScenarioError, TraceError) as error:
        fail(str(error), 2)
    report = _run(arrivals, world, wanted, seed, events)
    if as_json:
        asked = {"trace": str(trace), "scenario": world.name, "speed": speed, "policy": policy, "seed": seed}
        show_json(asked | asdict(report))
    else:
        show_table(("", ""), _rows(report), empty="")
    if report.unfinished:
        fail(f"{report.unfinished} jobs never ran: no machine was there for them, and none was bought")


def _run(trace: "Trace", scenario: "Scenario", policy: "Policy", seed: int, events: Path | None) -> "Report":
    from scaling.check import PlanError
    from scaling.simulate import simulate as run_world
    from scaling.simulate.log import log_file, silent

    with ExitStack() as stack:
        log = stack.enter_context(log_file(events)) if events else silent
        try:
            return run_world(trace, scenario, policy, seed, Progress(len(trace.arrivals), log))
        except PlanError as error:
            fail(f"policy {policy.name!r} made a plan that must not be applied: {error}")


def _rows(report: "Report") -> list[tuple[str, str]]:
    waits = (report.wait_mean_s, report.wait_p50_s, report.wait_p95_s, report.wait_p99_s, report.wait_max_s)
    parts = (report.busy_s, report.load_s, report.boot_s, report.idle_s)
    ended = f"{report.failed} failed, {report.cancelled} cancelled, {report.withdrawn} withdrawn before"
    return [
        ("cost", f"{usd(report.cost_usd)}, {duration(report.billed_s)} billed"),
        ("leased", f"{duration(report.lease_s)}, at most {report.peak_workers} workers at once"),
        ("busy / loads of it / boot / idle", " / ".join(map(duration, parts))),
        ("utilisation", f"{report.utilisation:.1%}"),
        ("launches", f"{report.launches}; {ended}; {report.lost} machines lost"),
        ("wait mean / p50 / p95 / p99 / max", " / ".join(map(duration, waits))),
        ("waited over 60 s / over 300 s", f"{report.over_60:.1%} / {report.over_300:.1%}"),
        ("deadlines missed", str(report.deadline_misses)),
        ("jobs", f"{report.jobs}, {report.events} events, {report.looks} looks"),
    ]

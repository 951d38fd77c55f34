"""Runs in processes of their own, each kept as a line of a file as soon as it has ended, so that none is done twice."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from autoscaling.matrix import CLAIRVOYANT, OURS, Case, policy_of

from scaling.simulate import Trace, read_scenario, read_trace, simulate
from scaling.simulate.log import Log, log_file, silent
from scaling.simulate.offline import clairvoyant, work_bound_s

SCALING = Path(__file__).parents[2] / "scaling"
ONLY_OURS = "whatif"
OFFLINE = "simulate/offline"
CHECK_S_MAX = 1800
CLOSE_S = 0.01


class RunFailed(Exception):
    """The checker found fault with a log, or figures in it that are not ours; or there is no schedule in time."""


@dataclass(frozen=True, slots=True)
class Result:
    """`ratio` is what was paid by the work bound."""

    ratio: float
    p50_s: float
    p95_s: float
    p99_s: float
    launches: int
    unfinished: int
    checked: bool


@dataclass(frozen=True, slots=True)
class Run:
    case: Case
    scenario: str
    speed: float
    seed: int

    def says(self) -> str:
        return f"{self.scenario} x{self.speed:g} seed {self.seed}: {self.case.name}: {self.case.says()}"


def key_of(run: Run, trace: Path) -> str:
    """By what a result is found again: what ran, on what, and the source that ran it."""
    source = source_hash(run.case.policy)
    facts = {"policy": run.case.policy, "knobs": dict(sorted(run.case.settings.items()))}
    where = {"scenario": run.scenario, "speed": run.speed, "seed": run.seed}
    return json.dumps(facts | where | {"trace": _digest(trace), "source": source})


@cache
def source_hash(policy: str) -> str:
    """Of `scaling/`, without what this policy has nothing to do with."""
    unread = {OURS: (OFFLINE,), CLAIRVOYANT: (ONLY_OURS,)}.get(policy, (ONLY_OURS, OFFLINE))
    digest = hashlib.sha256()
    for path in sorted(SCALING.rglob("*.py")):
        name = path.relative_to(SCALING).as_posix()
        if not name.startswith(tuple(f"{one}/" for one in unread)):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class Kept:
    """Results by key, in a file of JSON lines. Half a line, as a broken-off run leaves it, counts for nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Result] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def __len__(self) -> int:
        return len(self._found)

    def _read(self, line: str) -> None:
        try:
            kept = json.loads(line)
            self._found[kept["key"]] = Result(**kept["result"])
        except (ValueError, KeyError, TypeError):
            return

    def get(self, key: str, *, checked: bool = False) -> Result | None:
        """What is there; where it must be `checked`, only if it was."""
        found = self._found.get(key)
        return found if found and (found.checked or not checked) else None

    def add(self, key: str, result: Result) -> None:
        self._found[key] = result
        self._path.parent.mkdir(parents=True, exist_ok=True)
        ended = not self._path.exists() or self._path.read_bytes()[-1:] in (b"", b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("" if ended else "\n") + json.dumps({"key": key, "result": asdict(result)}) + "\n")


def run_all(
    runs: Sequence[Run], trace: Path, kept: Kept, jobs: int, checker: Path | None
) -> Iterator[tuple[Run, Result]]:
    """All results, those that are there first.

    Raises:
        RunFailed: a run has no result.
    """
    missing = []
    for run in runs:
        found = kept.get(key_of(run, trace), checked=checker is not None)
        if found:
            yield run, found
        else:
            missing.append(run)
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        under_way = {pool.submit(run_one, one, trace, checker): one for one in missing}
        try:
            for done in as_completed(under_way):
                run, result = under_way[done], done.result()
                kept.add(key_of(run, trace), result)
                yield run, result
        finally:
            pool.shutdown(cancel_futures=True)


@cache
def _trace(path: Path, speed: float) -> Trace:
    return read_trace(path, speed)


def run_one(run: Run, path: Path, checker: Path | None) -> Result:
    """Runs it here; with a checker, on a log that the checker passes.

    Raises:
        RunFailed: it does not pass, or recomputes other figures.
    """
    if checker is None:
        return _result(run, path, silent)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        with log_file(log) as write:
            result = _result(run, path, write)
        _check(run, result, [str(checker), str(path), str(log), "--json"], _work_s(run, path))
    return replace(result, checked=True)


def _result(run: Run, path: Path, log: Log) -> Result:
    trace, scenario = _trace(path, run.speed), read_scenario(run.scenario)
    work_s = _work_s(run, path)
    if run.case.policy != CLAIRVOYANT:
        report = simulate(trace, scenario, policy_of(run.case), run.seed, log)
        waits_s = report.wait_p50_s, report.wait_p95_s, report.wait_p99_s
        return Result(report.billed_s / work_s, *waits_s, report.launches, report.unfinished, checked=False)
    try:
        made = clairvoyant(trace, scenario, float(run.case.settings["limit_s"]))
    except ValueError as error:
        raise RunFailed(f"{run.says()}: {error}; leave it out by --policies") from None
    for event in made.events(trace):
        log(event)
    waits_s = made.wait_s(0.5), made.wait_s(0.95), made.wait_s(0.99)
    return Result(made.billed_s / work_s, *waits_s, len(made.leases), 0, checked=False)


def _work_s(run: Run, path: Path) -> float:
    return work_bound_s(_trace(path, run.speed), read_scenario(run.scenario))


def _check(run: Run, result: Result, command: Sequence[str], work_s: float) -> None:
    """A checker is a Python program that ends with 0 if a log is in order, and prints what it recomputed as JSON."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=CHECK_S_MAX, check=False
    )
    if done.returncode:
        raise RunFailed(
            f"{run.says()}: the checker does not pass its log: {(done.stdout + done.stderr)[-2000:]}"
        )
    metrics = json.loads(done.stdout)["metrics"]
    ours = {"wait_p95": result.p95_s}
    if read_scenario(run.scenario).offers[0].boot_billed:
        ours["lease_s"] = result.ratio * work_s
    if wrong := [name for name, value in ours.items() if abs(metrics[name] - value) > CLOSE_S]:
        raise RunFailed(
            f"{run.says()}: the checker has other figures for {', '.join(wrong)}: {metrics}, not {ours}"
        )

"""One replay: `gpulease up` as a process, the emulated cloud, its agents, and the jobs at their times."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from replaying.cloud import DrawnCloud
from replaying.crew import Home, serve
from replaying.engine import WARM_UP, Runs, asked_of
from up import Up

from orchestrator.keys import host_key, read_secret
from scaling.policy import Policy
from scaling.simulate import Scenario, Trace
from scaling.simulate.log import Log, first_line, log_file
from scaling.simulate.report import percentile

TELL_S = 30.0
LOOK_S = 0.05
WARM_S_MAX = 300.0
LATE_S_MAX = 1800.0
"""How long after the last arrival the last job may end."""
NOWHERE = "http://127.0.0.1:9"
"""The orchestrator's own host of agents is told to ask there, and so does nothing: ours serves the machines."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both books in USD, until the last job was done. Waits in seconds, from arrival to begin of service."""

    jobs: int
    unfinished: int
    cost_usd: float
    ledger_usd: float
    billed_s: float
    launches: int
    failed: int
    loads: int
    peak_workers: int
    wait_mean_s: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    wait_max_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where and with what luck."""

    seed: int
    folder: Path
    log: Log


def environment(cloud: DrawnCloud, scenario: Scenario) -> dict[str, str]:
    """Production's own settings, where `Up` has those of tests."""
    return {
        "GPULEASE_PROVIDERS": "comput3",
        "C3_API_KEY": cloud.key,
        "COMPUT3_BASE_URL": cloud.url,
        "GPULEASE_COMPUT3_NODE_SCHEME": "http",
        "GPULEASE_COMPUT3_NODE_DELAY_S": "0",
        "GPULEASE_COMPUT3_USD_PER_HOUR": f"{cloud.terms.usd_per_hour}",
        "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        "GPULEASE_PUBLIC_URL": NOWHERE,
        "GPULEASE_RECONCILE_PERIOD_S": f"{scenario.loop.period_s}",
        "GPULEASE_HEARTBEAT_S": "5",
        "GPULEASE_HEALTH_PERIOD_S": "15",
        "GPULEASE_ORPHAN_AFTER_S": "120",
        "GPULEASE_REQUESTS_PER_S": "10000",
        "GPULEASE_LOG_LEVEL": "warning",
    }


async def replay(trace: Trace, scenario: Scenario, policy: Policy, seed: int, folder: Path) -> Outcome:
    """Runs the whole of it. In the folder are then `live.jsonl`, which has what the simulator logs, and `up.log`.

    Raises:
        RuntimeError: the server, or the first machine, did not come up.
    """
    with log_file(folder / "live.jsonl") as log:
        log(first_line(scenario, seed, trace.speed))
        return await _replay(trace, scenario, policy, Place(seed, folder, log))


async def _replay(trace: Trace, scenario: Scenario, policy: Policy, place: Place) -> Outcome:
    folder = place.folder
    async with DrawnCloud(scenario.offers[0]) as cloud, _server(cloud, scenario, folder) as url:
        only = next(iter(scenario.gpu_classes.values()))
        runs = Runs(len(trace.arrivals), place.log)
        models = tuple(sorted({one.model for one in trace.arrivals}))
        home = Home(url, folder / "agents", models, only.load_s, runs)
        key = host_key(read_secret(folder / "data" / "deployment.key"), "comput3")
        crew = asyncio.create_task(serve(cloud, home, key))
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
                before = await _warm_up(http, cloud)
                runs.since_s = time.monotonic()
                cloud.begin(place.seed, runs.note)
                return await Replay(trace, cloud, runs, http).run(policy, before)
        finally:
            crew.cancel()
            await asyncio.gather(crew, return_exceptions=True)
            await asyncio.gather(*(one.aclose() for one in cloud.boxes.values()))
            home.thread.close()


@contextlib.asynccontextmanager
async def _server(cloud: DrawnCloud, scenario: Scenario, folder: Path) -> AsyncIterator[str]:
    up = Up(folder, **environment(cloud, scenario))
    try:
        await asyncio.to_thread(up.start)
        yield f"http://127.0.0.1:{up.port}"
    finally:
        if up.process is not None and up.process.poll() is None:
            await asyncio.to_thread(up.stop)
        up.http.close()
        up.log.close()


async def _warm_up(http: httpx.AsyncClient, cloud: DrawnCloud) -> set[str]:
    """One job of another engine leases a machine and lets it go, so that the market has seen what machines run.

    The ids of leases that do not count.
    """
    quick = Policy(name="fixed", idle_s=0.0, grace_s=0.0, launch_delay_s_min=0.0, launch_delay_s_max=0.0)
    await _ask(http, "PUT", "/v1/policy", json=asdict(quick))
    workflow = {"1": {"class_type": "Sleep", "inputs": {}}}
    await _ask(http, "POST", "/v1/jobs", json={"engine": WARM_UP, "input": {"workflow": workflow}})
    end = time.monotonic() + WARM_S_MAX
    while not cloud.books.workloads or cloud.live():
        if time.monotonic() > end:
            raise RuntimeError("the first machine did not come and go; see up.log")
        await asyncio.sleep(LOOK_S)
    await asyncio.sleep(1.0)
    return {one["worker_id"] for one in await _leases(http)}


async def _leases(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await _ask(http, "GET", "/v1/leases", params={"hours": 48}))["items"]


async def _ask(http: httpx.AsyncClient, method: str, path: str, **given: Any) -> Any:
    reply = await http.request(method, path, **given)
    if not reply.is_success:
        raise RuntimeError(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
    return reply.json()


class Replay:
    """From the first arrival to the end of the last job."""

    def __init__(self, trace: Trace, cloud: DrawnCloud, runs: Runs, http: httpx.AsyncClient) -> None:
        self._trace = trace
        self._cloud = cloud
        self._runs = runs
        self._http = http
        self._sent = 0

    async def run(self, policy: Policy, not_ours: set[str]) -> Outcome:
        async with asyncio.TaskGroup() as tasks:
            tell = tasks.create_task(self._tell())
            await self._until(self._trace.arrivals[0].t_s)
            # As in the simulator, the policy has not looked before the first job.
            await _ask(self._http, "PUT", "/v1/policy", json=asdict(policy))
            await self._submit(tasks)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LATE_S_MAX):
                    await self._runs.done.wait()
            lines = self._cloud.lines()
            ledger = await _leases(self._http)
            tell.cancel()
        waits_s = sorted(self._waits())
        return Outcome(
            jobs=len(self._trace.arrivals),
            unfinished=len(self._trace.arrivals) - len(self._runs.ended),
            cost_usd=sum(one.usd for one in lines),
            ledger_usd=sum(one["usd"] for one in ledger if one["worker_id"] not in not_ours),
            billed_s=sum(one.usd for one in lines) * 3600 / self._cloud.terms.usd_per_hour,
            launches=len(lines),
            failed=self._cloud.failed,
            loads=self._runs.loads,
            peak_workers=self._cloud.peak,
            wait_mean_s=sum(waits_s) / max(1, len(waits_s)),
            wait_p50_s=percentile(waits_s, 0.5),
            wait_p95_s=percentile(waits_s, 0.95),
            wait_p99_s=percentile(waits_s, 0.99),
            wait_max_s=max(waits_s, default=0.0),
        )

    def _waits(self) -> list[float]:
        came = {one.row: self._runs.since_s + one.t_s for one in self._trace.arrivals}
        return [began - came[row] for row, began in self._runs.began.items() if row in self._runs.ended]

    async def _submit(self, tasks: asyncio.TaskGroup) -> None:
        for one in self._trace.arrivals:
            await self._until(one.t_s)
            self._runs.note("arrival", job=one.row, model=one.model)
            tasks.create_task(_ask(self._http, "POST", "/v1/jobs", json=asked_of(one)))
            self._sent += 1

    async def _until(self, t_s: float) -> None:
        await asyncio.sleep(max(0.0, self._runs.since_s + t_s - time.monotonic()))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            lines = self._cloud.lines()
            print(
                f"{time.monotonic() - self._runs.since_s:5.0f} s  "
                f"{self._sent} of {len(self._trace.arrivals)} jobs sent, "
                f"{len(self._runs.began)} begun, {len(self._runs.ended)} done; "
                f"{sum(one.ended is None for one in lines)} machines, {len(lines)} launched, "
                f"USD {sum(one.usd for one in lines):.2f}",
                file=sys.stderr,
                flush=True,
            )

"""A whole deployment in virtual time from one seed: orchestrators that die, rough clouds, rough agents, jobs.

Everything between the agents and the clouds is the real thing, wired by `orchestrator.app.build`. Run by hand for long
hunts: `python tests/simulation/fleet_world.py --seed 7 --hours 12`; `--seeds 100` goes on for as many.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from invariants import judge, paid_and_ideal_usd
from lives import Lives
from machines import ENROLMENT_KEY, Machines
from rough_agent import Down
from scenario import KINDS, Arrival, Scenario
from virtual_time import Aside, VirtualClock, run
from watched_store import Watch

from orchestrator.fleet.costs import usd_between
from orchestrator.jobs.submit import Asked
from orchestrator.observe import DAY_S
from orchestrator.parts import Parts
from orchestrator.policy import SETTING
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.rows import Event, Job, JobFilter, Worker
from orchestrator.store.sqlite import open_sqlite
from scaling.states import TERMINAL_JOBS, WorkerState

PATIENCE_S = 4 * 3600.0
"""After the last arrival: each job ends within its hour, and machines soon after."""
INTENTS_A_MINUTE_MAX = 100
"""Ten workers at most, and some refusals."""
PLAN_AGE_S = 60.0


class FleetWorld:
    """`broken` is what went wrong on the way, `verdict` all that is wrong in the end."""

    def __init__(self, scenario: Scenario, folder: Path, *, sqlite: bool = False) -> None:
        self.scenario = scenario
        self.loop: Any = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.store: Any = Aside(lambda: open_sqlite(folder / "gpulease.db")) if sqlite else MemoryStore()
        self.watch = Watch(self.store)
        self.broken = self.watch.broken
        self.verdict: list[str] = []
        self.paid_usd = self.ideal_usd = 0.0
        self._events: list[Event] = []
        self.asked: list[str] = []
        self.is_lull = False
        self.settings = Settings(
            data=folder,
            providers=(),
            reconcile_period_s=scenario.period_s,
            health_period_s=scenario.period_s,
            heartbeat_s=15.0,
            claim_wait_s=60.0,
            internal_api_key=ENROLMENT_KEY,
            _env_file=None,
        )
        self.lives: Lives = Lives(self)
        self.machines = Machines(self)
        self.clouds = self.machines.clouds
        self.lives.beside.append(self.machines.host)
        for cloud in self.clouds.values():
            cloud.on_create = self._creating

    async def run(self) -> None:
        now = self.clock.now()
        await self.store.write_setting("deployment_id", "gplworld", who="world", now=now)
        await self.store.write_setting(SETTING, self.scenario.policy, who="world", now=now)
        for cloud in self.clouds.values():
            await cloud.add_stranger("somebody")
        owners = (self.machines.lend(number) for number in range(self.scenario.owned))
        course = [
            asyncio.create_task(one)
            for one in (self.lives.keep(), self.machines.fail(), self._expect_calm(), *owners)
        ]
        story = asyncio.create_task(self._story())
        # What makes the world go round never ends by itself.
        ended, _ = await asyncio.wait({story, *course}, return_when=asyncio.FIRST_COMPLETED)
        for task in course:
            task.cancel()
        if self.lives.body is not None:
            self.lives.body.die()
        await asyncio.gather(*course, return_exceptions=True)
        self.broken += [repr(error) for task in ended if (error := task.exception())]
        self.verdict = await judge(self)
        self.paid_usd, self.ideal_usd = await paid_and_ideal_usd(self)
        self._events = await self.store.list_events(limit=1_000_000)

    def story(self) -> list[tuple[Any, ...]]:
        """All moves that were ever made, but for what reasons in words."""
        return [(one.at, one.kind, one.job_id, one.worker_id, one.before, one.after) for one in self._events]

    async def _story(self) -> None:
        await asyncio.gather(*[asyncio.create_task(self._client(one)) for one in self.scenario.arrivals()])
        until = self.loop.time() + PATIENCE_S
        while self.loop.time() < until and not await self.is_quiet():
            await asyncio.sleep(30.0)

    async def _expect_calm(self) -> None:
        """Nobody changes their mind all the time; a world that does would never come to its end. Tells lulls, too."""
        while True:
            self.is_lull = await self.is_quiet()
            before = self.watch.intents
            await asyncio.sleep(60.0)
            if self.watch.intents - before > INTENTS_A_MINUTE_MAX:
                raise AssertionError(f"{self.watch.intents - before} intents in a minute")

    async def is_quiet(self) -> bool:
        """Nothing is left to do, nothing is leased, and nothing late can still come."""
        if self.machines.leased() or any(cloud.late for cloud in self.clouds.values()):
            return False
        return not await self.alive() and all(one.state in TERMINAL_JOBS for one in await self.jobs())

    async def jobs(self) -> list[Job]:
        return await self.store.list_jobs(JobFilter(), before=None, limit=100_000)

    async def alive(self) -> list[Worker]:
        """Rows that may cost something."""
        rows = await self.store.list_workers(include_gone=False, limit=100_000)
        return [one for one in rows if not one.owned]

    # Clients

    async def _client(self, arrival: Arrival) -> None:
        """Submits until it is accepted, and sometimes changes its mind."""
        await asyncio.sleep(arrival.at)
        self.is_lull = False

        async def submit(parts: Parts) -> Any:
            return await parts.submitter.submit_all([arrival.job(self.clock.now())], Asked())

        (submitted,) = await self._insist(submit)
        self.asked.append(submitted.job.id)
        if arrival.cancel_after_s is None:
            return
        await asyncio.sleep(arrival.cancel_after_s)

        async def cancel(parts: Parts) -> None:
            now = self.clock.now()
            await parts.store.cancel_job(submitted.job.id, who="client", reason="no longer needed", now=now)
            parts.loops.nudge("reconcile")

        await self._insist(cancel)

    async def _insist(self, what: Callable[[Parts], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await self.lives.call(what)
            except Down:
                await asyncio.sleep(3.0)

    # Budgets

    async def _creating(self, tag: str) -> None:
        """They hold whenever a machine is asked for."""
        policy = self.scenario.policy
        leased = [one for one in await self.alive() if one.state is not WorkerState.INTENDED]
        self._within("in all", policy["limits"], leased)
        for name, limits in policy["provider_limits"].items():
            self._within(name, limits, [one for one in leased if one.provider == name])
        most = policy["usd_per_day_max"]
        if most is not None:
            now = self.clock.now()
            leases = await self.store.list_leases(since=now - DAY_S)
            # The plan is a little older than the call.
            ahead = sum(one.usd_per_hour for one in leased) * PLAN_AGE_S / 3600
            if (spent := sum(usd_between(one, now - DAY_S, now) for one in leases)) > most + ahead:
                self.broken.append(f"{tag}: bought although {spent:.3f} of {most} USD a day are spent")

    def _within(self, scope: str, limits: dict[str, Any], leased: list[Worker]) -> None:
        usd = sum(one.usd_per_hour for one in leased)
        if limits["workers_max"] is not None and len(leased) > limits["workers_max"]:
            self.broken.append(f"{len(leased)} workers leased {scope}, the limit is {limits['workers_max']}")
        if limits["usd_per_hour_max"] is not None and usd > limits["usd_per_hour_max"] + 1e-6:
            self.broken.append(f"{usd} USD/hour leased {scope}, the limit is {limits['usd_per_hour_max']}")


class Recorder:
    """Hears of bugs through the log: loops and calls that fail say so there, and go on."""

    def __init__(self, world: FleetWorld, *, aloud: bool) -> None:
        self._world = world
        self._aloud = aloud
        self._before = structlog.get_config()

    def __enter__(self) -> None:
        structlog.configure(processors=[self._hear], cache_logger_on_first_use=False)

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _hear(self, _logger: object, _name: str, event: dict[str, Any]) -> dict[str, Any]:
        error = event.pop("exc_info", None)
        if error:
            found = traceback.format_exc() if error is True else "".join(traceback.format_exception(error))
            self._world.broken.append(f"{event} {found}")
        if self._aloud:
            print(f"{self._world.loop.time():10.3f}", event)
        raise structlog.DropEvent


def lived(scenario: Scenario, *, sqlite: bool = False, aloud: bool = False) -> FleetWorld:
    """The world after its whole course, judged."""

    async def main(folder: Path) -> FleetWorld:
        world = FleetWorld(scenario, folder, sqlite=sqlite)
        world.loop.set_exception_handler(lambda _, told: world.broken.append(f"a task failed: {told}"))
        try:
            with Recorder(world, aloud=aloud):
                await world.run()
        finally:
            if sqlite:
                world.store.close()
        return world

    with tempfile.TemporaryDirectory() as folder:
        return run(lambda: main(Path(folder)), scenario.seed)


def by_hand() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from that on")
    parser.add_argument("--hours", type=float, default=3.0, help="of arrivals")
    parser.add_argument("--kind", choices=sorted(KINDS), default="rough")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--aloud", action="store_true", help="print the log")
    asked = parser.parse_args()
    wrong = 0
    for seed in range(asked.seed, asked.seed + asked.seeds):
        began = time.monotonic()
        world = lived(KINDS[asked.kind](seed, asked.hours), sqlite=asked.sqlite, aloud=asked.aloud)
        wrong += bool(world.verdict)
        took_s = time.monotonic() - began
        print(
            f"seed {seed}: {took_s:.1f} s for {world.loop.time() / 3600:.1f} h, {len(world.asked)} jobs,",
            f"{world.lives.count} lives, {len(world.machines.agents)} agents,",
            f"{world.paid_usd:.2f} USD for {world.ideal_usd:.2f}:",
            "\n  ".join(["wrong", *world.verdict]) if world.verdict else "sound",
            flush=True,
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(by_hand())

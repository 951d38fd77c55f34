"""Many jobs on clouds that fail, and then the accounts: `python tests/chaos/run.py --jobs 200 --seed 1`.

Two emulated clouds that lose replies, machines and patience, `gpulease up` leasing there, two owners' machines of
which one loses its power, and orphans at Salad; from 45 jobs on gpulease itself is killed once, too. All jobs must
end well, nothing may be left, and our ledger must equal the clouds' bills to the cent. Exit status 1 says that a
check is broken; the logs are kept then.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

import faults
from checks import Outcome, check_all
from load import Load
from money import compared
from report import show, summary
from world import World, world

WAVES_MAX = 8
WAVE_JOBS_MIN = 15
WAVE_S_MAX = 300.0
QUIET_S_MAX = 15.0
EMPTY_S_MAX = 150.0
ORPHANS = 3
POWER_CUT_S = 2.0
FORCED = ("create_unknown", "node_death", "rate_limited")


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


@dataclass
class Course:
    """One run, wave by wave. `submitted` counts jobs; `orphans` are the names of what was planted."""

    world: World
    load: Load
    met: Counter[str]
    submitted: int = 0
    orphans: tuple[str, ...] = ()
    _said: str = field(default="")

    def run(self, jobs: int) -> None:
        waves = max(2, min(WAVES_MAX, jobs // WAVE_JOBS_MIN))
        self.load.record_clip()
        for wave in range(waves):
            count = jobs * (wave + 1) // waves - self.submitted
            faults.force(self.world.clouds, FORCED[wave % len(FORCED)])
            self.load.submit(self.submitted, count)
            self.submitted += count
            say(f"wave {wave + 1} of {waves}: {count} jobs")
            self._during(wave)
            self._until(lambda: not self.load.look()["waiting"], WAVE_S_MAX)
            self._until(lambda: not self.world.leased(), QUIET_S_MAX if wave + 1 < waves else 0.0)

    def empty(self) -> None:
        """Nothing has work any more: all of it is to be let go."""
        self.world.set_policy(idle_s=1, grace_s=1)
        done = self._until(lambda: not (self.world.leased() or self.world.clouds.live()), EMPTY_S_MAX)
        say("nothing is leased any more" if done else "something is still leased")
        self._until(self._all_told, 60.0)

    def _all_told(self) -> bool:
        return all(self.world.clouds.receiver.taken.get(job_id) for job_id in self.load.wanted)

    def _during(self, wave: int) -> None:
        if wave == 0:
            self._until(lambda: self._deployment() is not None, 60.0)
            deployment = self._deployment() or ""
            self.orphans = faults.plant_orphans(self.world, deployment, ORPHANS)
            say(f"{len(self.orphans)} orphans are planted at Salad")
        if wave == 1:
            self._cut_power()
        if wave == 2:
            self._kill_server()

    def _deployment(self) -> str | None:
        """The prefix of the names of our groups."""
        names = [one.group for one in self.world.clouds.ask(self.world.clouds.salad.live)]
        return next((name.partition("-w-")[0] for name in names), None)

    def _cut_power(self) -> None:
        """Of one owner's machine, while it works if it does."""
        owner = self.world.owners[0]
        self._until(lambda: self._is_busy(owner.name), 20.0)
        owner.end(signal.SIGKILL)
        say(f"{owner.name} lost its power")
        time.sleep(POWER_CUT_S)
        owner.start()

    def _kill_server(self) -> None:
        """Whatever it does just now."""
        time.sleep(self.load.seed % 7)
        self.world.up.kill()
        say("gpulease was killed")
        self.world.up.start()
        say("gpulease runs again")

    def _is_busy(self, name: str) -> bool:
        return any(one["id"] == name and one["busy"] for one in self.world.up.workers())

    def _until(self, ready: Callable[[], bool], patience_s: float) -> bool:
        """Tells how it goes while it waits."""
        end = time.monotonic() + patience_s
        while not (done := ready()) and time.monotonic() < end:
            self._tell()
            time.sleep(0.3)
        return done

    def _tell(self) -> None:
        states = Counter(f"{one['provider']} {one['state']}" for one in self.world.up.workers())
        jobs = ", ".join(f"{count} {name}" for name, count in sorted(self.load.look().items()) if count)
        shown = f"{jobs} | " + ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
        if shown != self._said:
            self._said = shown
            say(shown)


def run(jobs: int, seed: int, times: float, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    with world(folder, seed, say) as found:
        met = faults.turn_on(found.clouds, times)
        found.clouds.receiver.refuses_every = 20
        course = Course(found, Load(found, seed), met)
        course.run(jobs)
        course.empty()
        lines = compared(found.get("/v1/leases")["items"], found.clouds.billed())
        outcome = Outcome(found, course.load.jobs, lines, course.orphans)
        told = summary(outcome, check_all(outcome), met)
    return told | {"wall_s": time.monotonic() - began, "logs": str(folder)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=float, default=1.0, help="so many times as many faults")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--logs", type=Path, help="keep the logs of all processes here")
    asked = parser.parse_args()
    folder = asked.logs or Path(tempfile.mkdtemp(prefix="gpulease-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        told = run(asked.jobs, asked.seed, asked.times, folder.resolve())
    except BaseException:
        say(f"it broke off; logs: {folder}")
        raise
    if told["ok"] and asked.logs is None:
        shutil.rmtree(folder, ignore_errors=True)
        told["logs"] = "taken away; --logs keeps them"
    show(told, as_json=asked.json)
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

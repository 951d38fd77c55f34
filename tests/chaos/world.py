"""The world of a chaos run: two clouds that fail, `gpulease up` leasing there, and two machines that owners lend."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clouds import ENROL_KEY, Clouds
from up import Up

OWNERS = ("alices-box", "bobs-box")
SETTINGS = {
    "GPULEASE_PROVIDERS": "local,buffer,comput3,salad",
    "GPULEASE_RECONCILE_PERIOD_S": "1",
    "GPULEASE_HEALTH_PERIOD_S": "3",
    "GPULEASE_HEARTBEAT_S": "1",
    "GPULEASE_CLAIM_WAIT_S": "5",
    "GPULEASE_LOCAL_WORKERS_MAX": "1",
    "GPULEASE_ORPHAN_AFTER_S": "30",
}
POLICY = {
    "name": "whatif",
    "idle_s": 4,
    "grace_s": 8,
    "silent_s_max": 10,
    "boot_s_max": 25,
    "claim_silent_s_max": 20,
    "provider_limits": {"comput3": {"workers_max": 2}, "salad": {"workers_max": 2}},
}
"""Machines are let go soon, so that many are leased."""


class Owner:
    """`gpulease worker` in a folder of its own, as the owner of a machine would run it."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        self._command = [sys.executable, "-m", "gpulease", "worker", "--orchestrator", url]
        self._command += ["--worker-id", name, "--port", "-1", "--scratch", str(self._folder / "scratch")]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GPULEASE_")}
        self._environment = clean | {"INTERNAL_API_KEY": ENROL_KEY}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdout=log, stderr=log
            )

    def end(self, number: int = signal.SIGINT) -> int:
        """Twice SIGINT would be "at once"; SIGKILL is a power cut."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None


@dataclass(frozen=True)
class World:
    clouds: Clouds
    up: Up
    owners: tuple[Owner, ...]

    def get(self, path: str, **query: Any) -> Any:
        return self._answered(self.up.http.get(path, params=query))

    def post(self, path: str, **asked: Any) -> Any:
        return self._answered(self.up.http.post(path, **asked))

    def set_policy(self, **changes: Any) -> None:
        self._answered(self.up.http.put("/v1/policy", json=POLICY | changes))

    def leased(self) -> list[dict[str, Any]]:
        """What lives and is not its owner's."""
        return [one for one in self.up.workers() if one["provider"] != "buffer"]

    @staticmethod
    def _answered(reply: httpx.Response) -> Any:
        assert reply.is_success, f"{reply.request.url}: {reply.status_code} {reply.text[:300]}"
        return reply.json()


@contextlib.contextmanager
def world(folder: Path, seed: int, say: Callable[[str], None]) -> Iterator[World]:
    """Everything runs; leaving it ends everything. `folder` keeps the logs."""
    with Clouds(folder, seed=seed) as clouds:
        up = Up(folder, **clouds.environment(), **SETTINGS)
        owners = tuple(Owner(folder, name, f"http://127.0.0.1:{up.port}") for name in OWNERS)
        try:
            up.start()
            found = World(clouds, up, owners)
            found.set_policy()
            for owner in owners:
                owner.start()
            say(f"comput3 {clouds.comput3.url} · salad {clouds.salad.url} · gpulease {up.http.base_url}")
            yield found
        finally:
            _end(up, owners)


def _end(up: Up, owners: tuple[Owner, ...]) -> None:
    for owner in owners:
        if owner.runs:
            owner.end()
    if up.process is not None and up.process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.stop()
    for left in up.leftovers():
        left.kill()
    up.http.close()
    up.log.close()

"""The world of a chaos run: two clouds that fail, `gpulease up` leasing there, and two machines that owners lend."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clouds import ENROL_KEY, Clouds
from owner import Owner
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
        owners = tuple(Owner(folder, name, f"http://127.0.0.1:{up.port}", ENROL_KEY) for name in OWNERS)
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

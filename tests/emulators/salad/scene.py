"""For tests of the emulator itself: a caller who speaks plain HTTP, and programs that stand in for an image."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from salad.emulator import SaladEmulator

KEY = "salad-test-key"
RTX_4090 = "ed563892-aacd-40f5-80b7-90c9be6c759b"
ORGANIZATION = "/organizations/acme"
PROJECT = f"{ORGANIZATION}/projects/render"
GROUPS = f"{PROJECT}/containers"
QUEUES = f"{PROJECT}/queues"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(300)")


@dataclass
class Scene:
    cloud: SaladEmulator
    http: httpx.AsyncClient

    async def create(self, name: str = "g-1", **changes: Any) -> httpx.Response:
        return await self.http.post(GROUPS, json=group_body(name, **changes))

    async def instances(self, name: str = "g-1") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get(f"{GROUPS}/{name}/instances")).json()["instances"]
        return found

    async def events(self, name: str = "g-1") -> list[dict[str, Any]]:
        """The oldest first."""
        found = (await self.http.get(f"{GROUPS}/{name}/system-logs")).json()["items"]
        return list(reversed(found))

    async def until_running(self, name: str = "g-1") -> dict[str, Any]:
        await until(lambda: any(one.group == name and one.billed for one in self.cloud.live()))
        return (await self.instances(name))[0]

    def pids(self) -> list[int]:
        return [one.pid for one in self.cloud.live() if one.pid is not None]


@contextlib.asynccontextmanager
async def scene(argv: tuple[str, ...] = SLEEP, **options: Any) -> AsyncIterator[Scene]:
    """An emulator whose rules nobody broke in the end."""
    async with SaladEmulator(KEY, argv=argv, **options) as cloud:
        headers = {"Salad-Api-Key": KEY}
        async with httpx.AsyncClient(base_url=cloud.url, headers=headers, trust_env=False) as http:
            yield Scene(cloud, http)
        assert cloud.violations == []


def group_body(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "autostart_policy": True,
        "replicas": 1,
        "restart_policy": "always",
        "container": {
            "image": "ghcr.io/acme/worker:1",
            "priority": "batch",
            "environment_variables": {"GPULEASE_WORKER_ID": name},
            "resources": {"cpu": 4, "memory": 16384, "gpu_classes": [RTX_4090]},
        },
        **changes,
    }


async def until(condition: Callable[[], object], within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.01)

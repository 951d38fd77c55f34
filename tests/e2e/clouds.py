"""Both emulated clouds on a thread of their own, so that tests and scripts that wait do not hold them up.

`with Clouds(folder) as clouds:` serves them; `clouds.environment()` is what `gpulease up` must know to lease there.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Self, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from receiver import Receiver
from up import write_commands

from comput3.cloud import Comput3Emulator
from salad.catalogue import BY_ID
from salad.emulator import SaladEmulator
from salad.scene import RTX_4090

START_S_MAX = 60.0
ENROL_KEY = "enrol-me"
SALAD_KEY = "salad-key-of-the-emulator"
ENGINES = "csm,whisper/tiny.en,command/sleepy"
GROUPS = "organizations/acme/projects/render/containers"
T = TypeVar("T")


class Clouds:
    """`usd_per_hour` is the price of every machine of both: a cent is then worth as many seconds in each."""

    def __init__(self, folder: Path, *, seed: int = 0, usd_per_hour: float = 12.0) -> None:
        self.usd_per_hour = usd_per_hour
        commands = write_commands(folder)
        # What the image would have inside: the program of the engine `command`.
        worker = ("env", f"GPULEASE_COMMANDS={commands}", sys.executable, "-m", "worker_image")
        self.comput3 = Comput3Emulator(seed=seed, usd_per_hour=usd_per_hour)
        self.salad = SaladEmulator(SALAD_KEY, seed=seed, argv=worker, folder=folder / "salad")
        self.receiver = Receiver()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clouds", daemon=True)
        self._open = contextlib.AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._do(self._open.aclose)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _enter(self) -> None:
        prices = BY_ID[RTX_4090].prices
        self._open.callback(prices.update, dict(prices))
        prices["batch"] = f"{self.usd_per_hour:.3f}"
        for one in (self.comput3, self.salad, self.receiver):
            await self._open.enter_async_context(one)

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(START_S_MAX)

    def ask(self, question: Callable[[], T]) -> T:
        """Asked on the clouds' own thread, so that nothing changes meanwhile."""

        async def answered() -> T:
            return question()

        return self._do(answered)

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._do(work)

    def raze(self) -> None:
        """Everything ends, and is as if nobody had turned a knob."""

        async def ended() -> None:
            for knobs in (self.comput3.knobs, self.salad.knobs):
                for name, value in asdict(type(knobs)()).items():
                    setattr(knobs, name, value)
            for one in self.comput3.live():
                await self.comput3.stop(one.workload)
            for group in {one.group for one in self.salad.live()}:
                self.salad._cloud.delete(self.salad._cloud.groups[group])
            while self.salad.live():
                await asyncio.sleep(0.05)

        self._do(ended)

    def environment(self) -> dict[str, str]:
        return {
            "C3_API_KEY": self.comput3.key,
            "COMPUT3_BASE_URL": self.comput3.url,
            "GPULEASE_COMPUT3_NODE_SCHEME": "http",
            "GPULEASE_COMPUT3_NODE_DELAY_S": "0",
            "GPULEASE_COMPUT3_UI_URL": "http://{node}/ui",
            "GPULEASE_COMPUT3_USD_PER_HOUR": f"{self.usd_per_hour}",
            "SALAD_API_KEY": SALAD_KEY,
            "SALAD_ORG_NAME": "acme",
            "SALAD_PROJECT_NAME": "render",
            "SALAD_BASE_URL": self.salad.url,
            "GPULEASE_SALAD_IMAGE": "ghcr.io/acme/worker:1",
            "GPULEASE_SALAD_ENGINES": ENGINES,
            "GPULEASE_SALAD_GPU_CLASSES": "RTX 4090",
            "GPULEASE_SALAD_IMAGE_GB": "0.1",
            "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
            "INTERNAL_API_KEY": ENROL_KEY,
        }

    def live(self) -> list[str]:
        """What exists and may be billed, at both."""

        def look() -> list[str]:
            workloads = [f"comput3 {one.workload}" for one in self.comput3.live()]
            return workloads + [f"salad {one.group} {one.state}" for one in self.salad.live()]

        return self.ask(look)

    def billed(self) -> dict[str, dict[str, float]]:
        """USD by provider and instance, as their own books have it."""

        def look() -> dict[str, dict[str, float]]:
            groups: dict[str, float] = {}
            for line in self.salad.bill():
                groups[line.group] = groups.get(line.group, 0.0) + line.usd
            return {"comput3": {one.workload: one.usd for one in self.comput3.bill()}, "salad": groups}

        return self.ask(look)

    def pids(self) -> list[int]:
        """Of the containers that run at Salad."""
        return self.ask(lambda: [one.pid for one in self.salad.live() if one.pid is not None])

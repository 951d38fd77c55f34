"""A host of agents as a real process, and what tests ask of it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_orchestrator import HOST_KEY, KEY, Emulator


@dataclass
class HostProcess:
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "host.log").read_text()

    @property
    def leftovers(self) -> list[Path]:
        return list((self.folder / "scratch").rglob("*"))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def let_go(self) -> None:
        """As the end of its orchestrator does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def exit_code(self, within_s: float = 20.0) -> int:
        await until(lambda: self.process.poll() is not None, within_s)
        return self.process.returncode


@asynccontextmanager
async def hosting(world: Emulator, folder: Path, name: str, **extra: str) -> AsyncIterator[HostProcess]:
    own = {
        "GPULEASE_ORCHESTRATOR_URL": world.url,
        "GPULEASE_HOST_KEY": HOST_KEY,
        "GPULEASE_SCRATCH": str(folder / "scratch"),
        "GPULEASE_WORKER_GRACE_S": "0.5",
        "COMPUT3_NODE_DELAY_S": "0",
        "GPULEASE_COMPUT3_UI_URL": "http://{node}/ui",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPULEASE_")}
    process = _started(name, {**environment, **own, **extra}, folder / "host.log")
    try:
        yield HostProcess(folder, process)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        assert process.stdin is not None
        process.stdin.close()


def _started(name: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "worker_image", "--host", name]
    with log.open("ab") as stderr:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=stderr)


def duty(worker_id: str, address: str) -> dict[str, str]:
    return {"worker_id": worker_id, "worker_key": KEY, "gpu_class": "media:fast", "address": address}


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.02)


async def finish_of(world: Emulator, attempt: int) -> dict:
    await until(lambda: attempt in world.finished)
    return world.finished[attempt]

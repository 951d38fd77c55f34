"""A real worker process against an emulated orchestrator, and a watch on what it leaves behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from agent_orchestrator import KEY, Emulator, running

COPY = """
import pathlib, sys
source, out, words = sys.argv[1:]
print("openjd_progress: 50", flush=True)
pathlib.Path(out, "copy.txt").write_text(pathlib.Path(source).read_text() + words)
print("copied", source.rpartition(".")[2], flush=True)
"""
# Two kin: one stays a child, one leaves the group and the session.
SLEEP = """
import os, pathlib, subprocess, sys, time
kin = [subprocess.Popen(["sleep", "300"], cwd=".", start_new_session=away) for away in (False, True)]
print("pids", os.getpid(), *[one.pid for one in kin], flush=True)
pathlib.Path(sys.argv[1], "out.txt").write_text("done")
time.sleep(float(sys.argv[2]))
for one in kin: one.kill()
"""
CRASH = """
import os, signal, time
print("about to crash", flush=True)
time.sleep(0.3)
os.kill(os.getppid(), signal.SIGSEGV)
"""
PROGRAMS = {
    "copy": {
        "executable": sys.executable,
        "arguments": [
            "-c",
            COPY,
            "$RENDERONLINE:@uploaded_file",
            "$RENDERONLINE:@output_dir",
            "$RENDERONLINE:words",
        ],
        "types": {"words": "sentence"},
        "extension": ".scene",
    },
    "sleep": {
        "executable": sys.executable,
        "arguments": ["-c", SLEEP, "$RENDERONLINE:@output_dir", "$RENDERONLINE:seconds"],
        "types": {"seconds": "real"},
    },
    "crash": {"executable": sys.executable, "arguments": ["-c", CRASH]},
}


@dataclass
class Worker:
    """One worker process under `folder`."""

    folder: Path
    process: subprocess.Popen[bytes]
    seen: set[int] = field(default_factory=set)

    @property
    def log(self) -> str:
        return (self.folder.parent / "worker.log").read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_code(self, within_s: float = 20.0) -> int:
        await until(lambda: self.process.poll() is not None, within_s)
        return self.process.returncode

    def kin(self) -> list[psutil.Process]:
        """Every living process that works in the folder, other than the worker itself."""
        found = []
        for process in psutil.process_iter():
            try:
                inside = process.cwd().startswith(str(self.folder))
                if inside and process.status() != psutil.STATUS_ZOMBIE and process.pid != self.process.pid:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def leftovers(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*")]


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.02)


@pytest.fixture
async def world() -> AsyncIterator[Emulator]:
    async with running(Emulator()) as emulator:
        yield emulator


Start = Callable[..., Worker]


@pytest.fixture
def start(world: Emulator, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker on the emulator; extra words go to its environment."""
    programs = tmp_path / "programs.json"
    workers: list[Worker] = []

    def start_one(more_programs: dict[str, dict] | None = None, **extra: str) -> Worker:
        programs.write_text(json.dumps(PROGRAMS | (more_programs or {})))
        folder = tmp_path / f"instance-{len(workers)}"
        folder.mkdir()
        own = {
            "GPULEASE_ORCHESTRATOR_URL": world.url,
            "GPULEASE_WORKER_ID": "w-1",
            "GPULEASE_WORKER_KEY": KEY,
            "GPULEASE_COMMANDS": str(programs),
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GPULEASE_")}
        command = [sys.executable, "-m", "worker_image", "--data-marker", "test", "--instance", str(folder)]
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env={**environment, **own, **extra}, stderr=log)
        workers.append(Worker(folder, process))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.process.kill()
        worker.process.wait()

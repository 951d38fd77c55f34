"""Heartbeats keep their period whatever the machine, the engines or the agent's own loop are busy with."""

import asyncio
import itertools
import sys
import time
from pathlib import Path

import pytest
from agent_orchestrator import KEY, Emulator
from conftest import Start, until

PERIOD_S = 0.1
BUSY_S = 2.5
GAP_S_MAX = 1.2
"""Generous, since the machines that run tests are busy too; without the thread the gap is `BUSY_S` at least."""

# A worker whose own event loop is blocked from time to time: by a call that waits, or by Python that holds the lock.
BLOCKED = """
import asyncio, pathlib, sys, time
from worker_image.app import serve
from worker_image.settings import load

def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass

async def main():
    serving = asyncio.create_task(serve(load(port=-1, grace_s=0)))
    mark, how = pathlib.Path(sys.argv[1]), {"wait": time.sleep, "burn": burn}[sys.argv[2]]
    while not mark.exists() and not serving.done():
        await asyncio.sleep(0.02)
    how(float(sys.argv[3]))
    mark.unlink()
    await serving

asyncio.run(main())
"""
BURN = """
import os, time
print("pids", os.getpid(), flush=True)
for _ in range(2 * (os.cpu_count() or 1) - 1):
    if os.fork() == 0: break
end = time.monotonic() + {seconds}
while time.monotonic() < end: pass
"""


@pytest.fixture(autouse=True)
def times(world: Emulator) -> None:
    world.heartbeat_s = PERIOD_S


def widest_gap_s(world: Emulator, since: float) -> float:
    at = [since, *(one for one in world.beat_times if one > since), time.monotonic()]
    return max(later - earlier for earlier, later in itertools.pairwise(at))


async def test_an_engine_that_takes_all_of_the_cpu_delays_none(world: Emulator, start: Start, tmp_path: Path):
    burn = {"executable": sys.executable, "arguments": ["-c", BURN.format(seconds=BUSY_S)]}
    start({"burn": burn})
    attempt = world.give("command", {"program": "burn"})
    await until(lambda: "pids" in world.logs.get(attempt, ""))
    since = time.monotonic()
    await until(lambda: attempt in world.finished)
    assert time.monotonic() - since > BUSY_S / 2
    assert widest_gap_s(world, since) < GAP_S_MAX


@pytest.mark.parametrize("how", ["wait", "burn"])
@pytest.mark.slow
async def test_a_blocked_loop_delays_none(world: Emulator, tmp_path: Path, how: str):
    mark = tmp_path / "now"
    worker = await _blocked_worker(world, tmp_path, mark, how)
    try:
        await until(lambda: len(world.beats) > 3)
        since = time.monotonic()
        mark.touch()
        await until(lambda: not mark.exists())
        assert time.monotonic() - since > BUSY_S
        assert widest_gap_s(world, since) < GAP_S_MAX
        world.told = {"stop": True}
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def test_an_agent_that_is_stuck_for_good_is_not_vouched_for(world: Emulator, tmp_path: Path):
    world.orphan_after_s = 0.6
    mark = tmp_path / "now"
    worker = await _blocked_worker(world, tmp_path, mark, "wait")
    try:
        await until(lambda: len(world.beats) > 3)
        mark.touch()
        await until(lambda: time.monotonic() - world.beat_times[-1] > 1.0)
        assert worker.returncode is None
    finally:
        worker.kill()
        await worker.wait()


async def _blocked_worker(world: Emulator, folder: Path, mark: Path, how: str) -> asyncio.subprocess.Process:
    environment = {
        "GPULEASE_ORCHESTRATOR_URL": world.url,
        "GPULEASE_WORKER_ID": "w-1",
        "GPULEASE_WORKER_KEY": KEY,
        "GPULEASE_SCRATCH": str(folder / "scratch"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", BLOCKED, str(mark), how, str(BUSY_S)]
    with (folder / "blocked.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(*command, env=environment, stderr=log, cwd=folder)

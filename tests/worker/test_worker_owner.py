"""What the owner of a machine does with a worker: starts it anywhere, pauses it, reads it, leaves."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_orchestrator import KEY, Emulator
from conftest import PROGRAMS, Start, until

pytestmark = pytest.mark.slow

GPULEASE = str(Path(sys.executable).with_name("gpulease"))


def sleep_job(world: Emulator, seconds: float) -> int:
    return world.give("command", {"program": "sleep", "arguments": {"seconds": seconds}})


async def running(world: Emulator, attempt: int) -> None:
    await until(lambda: "pids" in world.logs.get(attempt, ""))


async def told_to_leave(world: Emulator) -> dict[str, Any]:
    """The first heartbeat that says that the worker leaves."""
    await until(lambda: any(one["status"] == "leaving" for one in world.beats))
    return next(one for one in world.beats if one["status"] == "leaving")


@contextlib.asynccontextmanager
async def owned(
    world: Emulator, folder: Path, *arguments: str, **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`gpulease worker` as an owner types it, in a folder with nothing of ours; its words go to `words`."""
    (folder / "programs.json").write_text(json.dumps(PROGRAMS))
    here = folder / "home"
    here.mkdir(exist_ok=True)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GPULEASE_")}
    environment = plain | {"GPULEASE_SCRATCH": str(folder / "scratch")} | more
    command = [GPULEASE, "worker", "--orchestrator", world.url, "--worker-id", "my-box", "--port", "-1"]
    given = [*command, "--commands", str(folder / "programs.json"), *arguments]
    with (folder / "words").open("ab") as words:
        process = await asyncio.create_subprocess_exec(*given, cwd=here, env=environment, stderr=words)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_one_command_anywhere_serves_and_tells_what_it_does(world: Emulator, tmp_path: Path):
    options = ("--key", KEY, "--capacity", "2", "--gpu-class", "RTX 4090", "--usd-per-hour", "0.25")
    async with owned(world, tmp_path, *options) as worker:
        attempt = sleep_job(world, 0.2)
        await until(lambda: attempt in world.finished)
        (said,) = world.registered
        assert (said["capacity"], said["gpu_class"], said["usd_per_hour"]) == (2, "RTX 4090", 0.25)
        world.down = True
        await until(lambda: world.unheard > 3)
        world.down = False
        await until(lambda: "Connected again" in (tmp_path / "words").read_text())
        worker.send_signal(signal.SIGINT)
        assert await worker.wait() == 0
    words = (tmp_path / "words").read_text()
    assert f"Connected to {world.url} as my-box. Offers " in words
    assert f"Job job-{attempt} (command) began." in words
    assert f"Job job-{attempt} (command) ended after " in words
    assert "s: succeeded" in words
    assert "The connection is lost" in words
    assert "Jobs run: 1." in words
    assert "[" not in words.splitlines()[-1]
    assert list((tmp_path / "home").iterdir()) == []


async def test_the_key_may_be_the_one_that_enrols(world: Emulator, tmp_path: Path):
    async with owned(world, tmp_path, INTERNAL_API_KEY=KEY) as worker:
        await until(lambda: world.beats)
        assert worker.returncode is None


async def test_as_json_each_line_is_an_event(world: Emulator, tmp_path: Path):
    async with owned(world, tmp_path, "--json", "--key", KEY) as worker:
        await until(lambda: world.beats)
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    events = [json.loads(line) for line in (tmp_path / "words").read_text().splitlines()]
    names = [event["event"] for event in events]
    assert {"connecting", "registered", "stopping", "stopped"} <= set(names)


async def test_a_wrong_key_ends_it_and_says_what_to_check(world: Emulator, tmp_path: Path):
    async with owned(world, tmp_path, "--key", "wrong") as worker:
        assert await worker.wait() == 2
    assert "Check --worker-id and --key" in (tmp_path / "words").read_text()


async def test_ctrl_c_says_goodbye_and_hands_the_job_back(world: Emulator, tmp_path: Path):
    async with owned(world, tmp_path, "--key", KEY, GPULEASE_WORKER_GRACE_S="1") as worker:
        attempt = sleep_job(world, 60)
        await running(world, attempt)
        claims = len(world.nonces)
        worker.send_signal(signal.SIGINT)
        leaving = await told_to_leave(world)
        assert leaving["attempts"] == [attempt], "it says so while it still holds the job"
        assert await worker.wait() == 0
    assert world.finished[attempt]["fault"]["code"] == "worker_stopped"
    assert world.beats[-1]["status"] == "leaving"
    assert world.beats[-1]["attempts"] == []
    assert len(world.nonces) == claims
    assert f"Job job-{attempt} (command) ended" in (tmp_path / "words").read_text()
    assert "handed back" in (tmp_path / "words").read_text()


async def test_a_signal_pauses_and_resumes(world: Emulator, start: Start):
    worker = start()
    held = sleep_job(world, 1.0)
    await running(world, held)
    worker.signal(signal.SIGUSR1)
    await until(lambda: world.beats[-1]["status"] == "paused")
    attempt = sleep_job(world, 0)
    await until(lambda: held in world.finished)
    assert world.finished[held]["result"]
    seen = len(world.beats)
    await until(lambda: len(world.beats) > seen + 8)
    assert attempt not in world.logs
    worker.signal(signal.SIGUSR1)
    await until(lambda: attempt in world.finished)
    assert world.finished[attempt]["result"]
    assert "owner_paused" in worker.log


async def test_a_pause_takes_back_a_claim_that_waits(world: Emulator, start: Start):
    world.claim_wait_s = 30.0
    worker = start()
    await until(lambda: world.nonces and world.beats)
    worker.signal(signal.SIGUSR1)
    await until(lambda: world.beats[-1]["status"] == "paused")
    await until(lambda: world.parked == 0)
    attempt = sleep_job(world, 0)
    seen = len(world.beats)
    await until(lambda: len(world.beats) > seen + 8)
    assert attempt not in world.logs


async def test_two_slots_run_two_jobs_at_once(world: Emulator, start: Start):
    jobs = [sleep_job(world, 60), sleep_job(world, 60), sleep_job(world, 0)]
    worker = start(GPULEASE_WORKER_CAPACITY="2")
    await running(world, jobs[0])
    await running(world, jobs[1])
    await until(lambda: set(world.beats[-1]["attempts"]) == set(jobs[:2]))
    assert jobs[2] not in world.logs
    world.cancel.add(jobs[0])
    await until(lambda: jobs[2] in world.finished)
    assert jobs[1] not in world.finished
    assert worker.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
async def test_with_two_slots_a_stop_finishes_one_and_hands_the_other_back(
    world: Emulator, start: Start, number: signal.Signals
):
    short, long = sleep_job(world, 2.0), sleep_job(world, 60)
    worker = start(GPULEASE_WORKER_CAPACITY="2", GPULEASE_WORKER_GRACE_S="4")
    await running(world, short)
    await running(world, long)
    worker.signal(number)
    assert await worker.exit_code() == 0
    assert world.finished[short]["result"]
    assert world.finished[long]["fault"]["code"] == "worker_stopped"
    assert worker.kin() == []
    assert worker.leftovers() == []


@pytest.mark.slow
async def test_out_of_touch_it_waits_unloaded_and_serves_again(world: Emulator, tmp_path: Path):
    world.orphan_after_s = 0.5
    settings = {"GPULEASE_WORKER_REST_S": "0.3"}
    async with owned(world, tmp_path, "--key", KEY, **settings) as worker:
        await until(lambda: world.beats)
        world.down = True
        await until(lambda: "engines are unloaded" in (tmp_path / "words").read_text())
        world.down = False
        await until(lambda: len(world.registered) == 2)
        attempt = sleep_job(world, 0)
        await until(lambda: attempt in world.finished)
        assert world.registered[0]["incarnation"] != world.registered[1]["incarnation"]
        assert worker.returncode is None

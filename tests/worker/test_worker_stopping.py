"""How a worker ends: told, asked, killed, refused, alone. Nothing of it is ever left."""

import signal

import pytest
from agent_orchestrator import Emulator
from conftest import Start, until

pytestmark = pytest.mark.slow


def sleep_job(world: Emulator, seconds: float) -> int:
    return world.give("command", {"program": "sleep", "arguments": {"seconds": seconds}})


async def running(world: Emulator, attempt: int) -> None:
    await until(lambda: "pids" in world.logs.get(attempt, ""))


async def test_a_stop_waits_for_the_running_job(world: Emulator, start: Start):
    attempt = sleep_job(world, 1.0)
    worker = start()
    await running(world, attempt)
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0
    assert world.finished[attempt]["result"]
    assert worker.leftovers() == []


async def test_a_job_that_outlasts_the_grace_goes_elsewhere(world: Emulator, start: Start):
    attempt = sleep_job(world, 60)
    worker = start(GPULEASE_WORKER_GRACE_S="0.3")
    await running(world, attempt)
    claims = len(world.nonces)
    worker.signal(signal.SIGINT)
    assert await worker.exit_code() == 0
    fault = world.finished[attempt]["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "worker_stopped")
    assert len(world.nonces) == claims
    assert worker.kin() == []
    assert worker.leftovers() == []


async def test_a_second_signal_ends_it_at_once(world: Emulator, start: Start):
    attempt = sleep_job(world, 60)
    worker = start(GPULEASE_WORKER_GRACE_S="60")
    await running(world, attempt)
    worker.signal(signal.SIGTERM)
    await until(lambda: "stopping" in worker.log)
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 1
    await until(lambda: worker.kin() == [])
    assert worker.leftovers() == []


async def test_a_killed_worker_takes_its_engines_with_it(world: Emulator, start: Start):
    attempt = sleep_job(world, 60)
    worker = start()
    await running(world, attempt)
    worker.signal(signal.SIGKILL)
    await worker.exit_code()
    await until(lambda: len(worker.kin()) <= 1)  # What left its group on purpose is the instance's to sweep.
    for stray in worker.kin():
        stray.kill()


@pytest.mark.slow
async def test_a_worker_that_is_alone_too_long_ends(world: Emulator, start: Start):
    world.orphan_after_s = 1.0
    attempt = sleep_job(world, 60)
    worker = start()
    await running(world, attempt)
    world.down = True
    assert await worker.exit_code() == 3
    assert worker.kin() == []
    assert worker.leftovers() == []


@pytest.mark.slow
async def test_a_short_silence_is_survived(world: Emulator, start: Start):
    attempt = sleep_job(world, 1.5)
    start()
    await running(world, attempt)
    world.down = True
    await until(lambda: world.unheard > 5)
    world.down = False
    await until(lambda: attempt in world.finished)
    assert world.finished[attempt]["result"]


async def test_told_to_stop_it_ends(world: Emulator, start: Start):
    world.told = {"stop": True}
    worker = start()
    assert await worker.exit_code() == 0
    assert worker.leftovers() == []


async def test_draining_it_finishes_and_claims_no_more(world: Emulator, start: Start):
    attempt = sleep_job(world, 0.7)
    worker = start()
    await running(world, attempt)
    world.told = {"drain": True}
    later = sleep_job(world, 0)
    await until(lambda: attempt in world.finished)
    seen = len(world.beats)
    await until(lambda: len(world.beats) > seen + 8)
    assert later not in world.progress
    assert worker.process.poll() is None


async def test_a_wrong_key_ends_it_with_a_word(world: Emulator, start: Start):
    worker = start(GPULEASE_WORKER_KEY="wrong")
    assert await worker.exit_code() == 2
    assert "refused" in worker.log


@pytest.mark.parametrize("missing", ["GPULEASE_WORKER_ID"])
async def test_a_bad_configuration_stops_the_start(world: Emulator, start: Start, missing: str):
    worker = start(**{missing: ""})
    assert await worker.exit_code() == 2
    assert "worker_id" in worker.log

"""The agent against an orchestrator over real HTTP: one real worker process, real engine processes."""

import asyncio
import hashlib
import io
import signal
import zipfile

import pytest
from agent_orchestrator import Emulator
from conftest import Start, until

COPY = {"program": "copy", "arguments": {"words": "and more; $(echo) `x`"}}
SLEEP = {"program": "sleep", "arguments": {"seconds": 60}}


def copy_job(world: Emulator, **more) -> int:
    return world.give("command", COPY, file=b"scene ", **more)


async def finish_of(world: Emulator, attempt: int) -> dict:
    await until(lambda: attempt in world.finished)
    return world.finished[attempt]


async def test_a_job_goes_all_the_way(world: Emulator, start: Start):
    attempt = copy_job(world)
    worker = start()
    result = (await finish_of(world, attempt))["result"]
    stored = world.stored[f"{attempt}/result.zip"]
    assert zipfile.ZipFile(io.BytesIO(stored)).read("copy.txt") == b"scene and more; $(echo) `x`"
    (file,) = result["files"]
    assert (file["size_bytes"], file["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (result["backend"], result["model"]) == ("command", "copy")
    assert {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC", "PEAK_RAM_KB", "gpu_class"} <= set(
        result["metrics"]
    )
    assert "copied scene" in world.logs[attempt]
    phases = [one["phase"] for one in world.progress[attempt]]
    assert phases == sorted(phases, key=["preparing", "inferring", "encoding", "uploading"].index)
    shares = [one["progress"] for one in world.progress[attempt]]
    assert shares == sorted(shares)
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0
    assert worker.kin() == []
    assert worker.leftovers() == []


async def test_what_it_can_run_is_what_it_says(world: Emulator, start: Start):
    start(GPU_CLASS_NAME="RTX-local", GPULEASE_WORKER_CAPACITY="2")
    await until(lambda: world.beats)
    said = world.registered[0]
    assert (said["gpu_class"], said["capacity"]) == ("RTX-local", 2)
    assert {
        "engine": "command",
        "backend": "command",
        "models": ["copy", "sleep", "crash"],
        "features": [],
        "vram_gb": 0.0,
    } in said["engines"]
    assert world.beats[0]["status"] == "idle"
    assert world.beats[0]["incarnation"] == said["incarnation"]


async def test_cancel_ends_the_program_and_all_its_kin(world: Emulator, start: Start):
    worker = start()
    attempt = world.give("command", SLEEP)
    await until(lambda: "pids" in world.logs.get(attempt, ""))
    assert len(worker.kin()) == 4  # The engine, the program, its child, and the one that left the group.
    world.cancel.add(attempt)
    after = copy_job(world)
    assert (await finish_of(world, after))["result"]
    assert attempt not in world.finished
    await until(lambda: len(worker.kin()) <= 1)


async def test_progress_that_is_stale_ends_the_attempt(world: Emulator, start: Start):
    worker = start()
    attempt = world.give("command", SLEEP)
    world.stale_progress.add(attempt)
    await until(lambda: attempt in world.stale_seen)
    after = copy_job(world)
    assert (await finish_of(world, after))["result"]
    assert attempt not in world.finished
    await until(lambda: len(worker.kin()) <= 1)


@pytest.mark.slow
async def test_a_lost_claim_reply_comes_again_for_the_same_nonce(world: Emulator, start: Start):
    world.lost_claims = 1
    attempt = copy_job(world)
    start()
    assert (await finish_of(world, attempt))["result"]
    assert world.nonces[0] == world.nonces[1]


@pytest.mark.slow
async def test_a_stale_finish_changes_nothing_and_the_next_job_runs(world: Emulator, start: Start):
    first, second = copy_job(world), copy_job(world)
    world.stale_finish.add(first)
    start()
    assert (await finish_of(world, second))["result"]
    assert world.finished[first] == {"stale": True}


async def test_a_crash_of_the_engine_is_the_hosts_fault(world: Emulator, start: Start):
    first, second = world.give("command", {"program": "crash"}), copy_job(world)
    start()
    fault = (await finish_of(world, first))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "engine_crashed")
    assert "SIGSEGV" in fault["message"]
    assert "about to crash" in fault["message"]
    assert (await finish_of(world, second))["result"]


async def test_an_engine_that_makes_no_progress_is_the_hosts_fault(world: Emulator, start: Start):
    attempt = world.give("command", SLEEP, stalled_after_s=1.0)
    worker = start()
    fault = (await finish_of(world, attempt))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "stalled")
    await until(lambda: len(worker.kin()) <= 1)


async def test_what_is_wrong_with_a_job_is_the_jobs_fault(world: Emulator, start: Start):
    files = {
        "missing": f"{world.url}/files/missing",
        "other": "http://127.0.0.2:9/",
        "name": "http://localhost:9/",
    }
    unreachable, address, name = (
        world.give("command", COPY, inputs={"file_url": url}) for url in files.values()
    )
    option = world.give("command", {"program": "copy", "arguments": {"words": "--help"}}, file=b"x")
    good = copy_job(world)
    start()
    assert (await finish_of(world, good))["result"]
    faults = {attempt: said["fault"] for attempt, said in world.finished.items() if attempt != good}
    assert {fault["kind"] for fault in faults.values()} == {"job"}
    assert {attempt: fault["code"] for attempt, fault in faults.items()} == {
        unreachable: "input_unreachable",
        address: "input_forbidden",
        name: "input_forbidden",
        option: "argument_invalid",
    }
    assert "words" in faults[option]["message"]


@pytest.mark.slow
async def test_a_storage_that_fails_for_a_while_costs_no_result(world: Emulator, start: Start):
    world.failing_puts = 4
    attempt = copy_job(world)
    start()
    assert (await finish_of(world, attempt))["result"]


@pytest.mark.slow
async def test_a_storage_that_stays_away_is_a_fault_of_the_host(world: Emulator, start: Start):
    world.failing_puts, world.orphan_after_s = 1_000, 2.0
    attempt = copy_job(world)
    start()
    fault = (await finish_of(world, attempt))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "upload_failed")


async def test_the_slot_is_free_while_outputs_upload(world: Emulator, start: Start):
    world.storage_gate.clear()
    first = copy_job(world)
    start()
    await until(lambda: any(one["phase"] == "uploading" for one in world.progress.get(first, ())))
    second = copy_job(world)
    await until(lambda: second in world.progress)
    assert first not in world.finished
    world.storage_gate.set()
    assert (await finish_of(world, first))["result"]
    assert (await finish_of(world, second))["result"]


async def test_the_next_jobs_inputs_are_fetched_while_the_engine_works(world: Emulator, start: Start):
    first = world.give("command", SLEEP)
    worker = start()
    await until(lambda: "pids" in world.logs.get(first, ""))
    second = copy_job(world)
    held = world.queue.popleft()
    world.told = {"prefetch": {"job_id": held["job_id"], "inputs": held["inputs"]}}
    await until(lambda: world.fetched)
    world.queue.append(held)
    world.cancel.add(first)
    assert (await finish_of(world, second))["result"]
    assert len(world.fetched) == 1
    assert worker.process.poll() is None


@pytest.mark.slow
async def test_a_forgotten_worker_registers_again_and_keeps_its_work(world: Emulator, start: Start):
    attempt = world.give("command", {"program": "sleep", "arguments": {"seconds": 1.5}})
    start()
    await until(lambda: "pids" in world.logs.get(attempt, ""))
    world.forgotten = True
    assert (await finish_of(world, attempt))["result"]
    assert len(world.registered) == 2
    assert world.registered[0]["incarnation"] == world.registered[1]["incarnation"]


async def test_a_paused_worker_claims_nothing(world: Emulator, start: Start):
    world.told = {"pause": True}
    worker = start()
    await until(lambda: "told_to_pause" in worker.log)
    await until(lambda: len(world.beats) > 12)
    attempt = copy_job(world)
    seen = len(world.beats)
    await until(lambda: len(world.beats) > seen + 8)
    assert attempt not in world.progress
    world.told = {}
    assert (await finish_of(world, attempt))["result"]


async def test_it_ends_when_told_to_while_nobody_answers(start: Start):
    worker = start(GPULEASE_ORCHESTRATOR_URL="http://127.0.0.1:9")
    await until(lambda: "connecting" in worker.log)
    await asyncio.sleep(1)
    worker.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.process.wait, 10) == 0

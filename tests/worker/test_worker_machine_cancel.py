"""A job that is taken back is gone within 2 s, whatever it does at that moment, and with it all that it started."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from agent_orchestrator import Emulator
from conftest import Start, Worker, until
from machine_world import libraries, speak

pytestmark = pytest.mark.slow

GONE_S_MAX = 2.0
BEAT_S = 0.05


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes a request and never answers."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(1024):
                pass
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/slow"
    finally:
        server.close()


async def cancelled(world: Emulator, worker: Worker, attempt: int) -> float:
    """Seconds from the word until neither the attempt nor anything of it is left."""
    world.cancel.add(attempt)
    started = time.monotonic()
    await until(lambda: world.beats[-1]["attempts"] == [], within_s=10)
    await until(lambda: all("sleep" not in one.name() for one in worker.kin()), within_s=10)
    return time.monotonic() - started - 2 * BEAT_S


async def test_while_its_inputs_are_fetched(world: Emulator, start: Start):
    async with silent_server() as url:
        attempt = world.give("command", {"program": "copy"}, inputs={"file_url": url})
        worker = start(GPULEASE_ALLOW_PRIVATE_HOSTS="127.0.0.1")
        await until(lambda: world.progress.get(attempt))
        assert await cancelled(world, worker, attempt) < GONE_S_MAX
    assert attempt not in world.finished


@pytest.mark.parametrize(
    ("phase", "extra"),
    [
        ("loading", {**libraries("speech"), "PYTHON_SPEECH_LOADS": "stuck"}),
        ("inferring", libraries("speech")),
        ("encoding", libraries("encoder", "speech")),
    ],
)
async def test_while_its_engine_heeds_nobody(world: Emulator, start: Start, phase: str, extra: dict):
    attempt = speak(world, "stuck" if phase == "inferring" else "fine")
    worker = start(**extra)
    await until(lambda: "stuck" in world.logs.get(attempt, ""))
    assert len([one for one in worker.kin() if one.name() == "sleep"]) == 2
    assert await cancelled(world, worker, attempt) < GONE_S_MAX
    assert worker.kin() == []
    assert attempt not in world.finished


async def test_while_its_result_is_uploaded(world: Emulator, start: Start):
    world.storage_gate.clear()
    attempt = speak(world, "fine")
    worker = start(**libraries("speech"))
    await until(lambda: any(one["phase"] == "uploading" for one in world.progress.get(attempt, [])))
    assert await cancelled(world, worker, attempt) < GONE_S_MAX
    world.storage_gate.set()
    assert attempt not in world.finished

"""Agents for containers behind Salad's queues: a real host process, and containers that are real workers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from agent_orchestrator import Emulator
from hosted_world import HostProcess, duty, finish_of, hosting, until

from provider_clients.base import LaunchSpec
from provider_clients.salad import Salad, SaladConfig
from salad.emulator import SaladEmulator
from salad.jobs import Job

KEY = "salad-key"
TAG = "dep-worker-1"
WRITE = (
    "import pathlib, sys, time; time.sleep(float(sys.argv[2])); "
    "pathlib.Path(sys.argv[1], 'made').write_text('made')"
)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SaladEmulator]:
    async with SaladEmulator(KEY, folder=tmp_path / "salad") as cloud:
        yield cloud


@pytest.fixture
async def group(cloud: SaladEmulator, world: Emulator, tmp_path: Path) -> AsyncIterator[Salad]:
    """One container group in queue mode, whose image has a program `write`; there is a duty for it."""
    write = {
        "executable": sys.executable,
        "arguments": ["-c", WRITE, "$RENDERONLINE:@output_dir", "$RENDERONLINE:seconds"],
        "types": {"seconds": "real"},
    }
    programs = tmp_path / "programs.json"
    programs.write_text(httpx.Response(200, json={"write": write}).text)
    config = SaladConfig(KEY, "acme", "render", "image", cloud.url, mode="queue")
    client = Salad(config)
    environment = {"GPULEASE_COMMANDS": str(programs), "GPULEASE_WORKER_GRACE_S": "0"}
    gpu_class = (await client._classes.sold())[0].name
    made = await client.create(LaunchSpec("w-1", gpu_class, world.url, "wk", environment), TAG)
    async with asyncio.timeout(20):
        while not await client.probe(made):
            await asyncio.sleep(0.1)
    world.duties.append(duty("w-1", TAG))
    yield client
    await client.aclose()


@pytest.fixture
async def host(
    cloud: SaladEmulator, group: Salad, world: Emulator, tmp_path: Path
) -> AsyncIterator[HostProcess]:
    account = {
        "SALAD_API_KEY": KEY,
        "SALAD_ORG_NAME": "acme",
        "SALAD_PROJECT_NAME": "render",
        "SALAD_BASE_URL": cloud.url,
        "GPULEASE_SALAD_ENGINES": "command/write,whisper/tiny.en",
    }
    async with hosting(world, tmp_path, "salad", **account) as host:
        yield host


def jobs_of(cloud: SaladEmulator) -> list[Job]:
    return [job for queue in cloud._cloud.queues.values() for job in queue.jobs.values()]


@pytest.fixture
async def webhooks(cloud: SaladEmulator, world: Emulator) -> AsyncIterator[None]:
    """What the orchestrator passes on of them."""

    async def pass_on() -> None:
        while True:
            world.news = [job.id for job in jobs_of(cloud) if job.status == "succeeded"]
            await asyncio.sleep(0.1)

    task = asyncio.create_task(pass_on())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def write(world: Emulator, seconds: float = 0) -> int:
    asked = {"program": "write", "arguments": {"seconds": seconds}}
    return world.give("command", asked, model="write")


async def test_a_job_goes_through_the_queue_and_its_file_is_stored(
    world: Emulator, host: HostProcess, webhooks: None
):
    attempt = write(world)
    result = (await finish_of(world, attempt))["result"]
    assert (result["backend"], result["model"]) == ("command", "write")
    (file,) = result["files"]
    assert (file["key"], file["size_bytes"]) == (f"{attempt}/result.zip", len(world.stored[file["key"]]))
    offers = [(one["engine"], one["backend"], one["models"]) for one in world.registered[0]["engines"]]
    assert offers == [("command", "salad-queue", ["write"]), ("whisper", "salad-queue", ["tiny.en"])]


@pytest.mark.slow
async def test_the_status_of_the_output_decides(world: Emulator, host: HostProcess, webhooks: None):
    wrong = world.give("command", {"program": "write", "arguments": {"seconds": "long"}}, model="write")
    unknown = world.give("command", {"program": "other"}, model="write")
    fault = (await finish_of(world, wrong))["fault"]
    assert (fault["kind"], fault["code"]) == ("job", "argument_invalid")
    fault = (await finish_of(world, unknown))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "job_refused")
    world.files["noise"] = b"this is no sound"
    inputs = {"audio_url": f"{world.url}/files/noise"}
    heard = world.give("whisper", {"audio_url": "upload://1"}, inputs=inputs)
    assert (await finish_of(world, heard))["fault"]["code"] == "input_not_audio"


@pytest.mark.slow
async def test_a_job_that_runs_keeps_the_slot_when_it_is_cancelled(
    cloud: SaladEmulator, world: Emulator, host: HostProcess, webhooks: None
):
    await until(lambda: world.registered)
    running = write(world, seconds=2)
    await until(lambda: jobs_of(cloud) and jobs_of(cloud)[0].status == "running")
    world.cancel.add(running)
    await until(lambda: world.beats[-1]["attempts"] == [])
    after = write(world)
    assert (await finish_of(world, after))["result"]
    assert running not in world.finished

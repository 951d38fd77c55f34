"""Agents for Comput3's media nodes, in a real host process: the emulated nodes really speak and listen."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from agent_orchestrator import Emulator
from hosted_world import HostProcess, duty, finish_of, hosting, until
from stopwatch import Stopwatch

from comput3.cloud import Comput3Emulator

pytestmark = pytest.mark.slow

FOX = "The quick brown fox jumps over the lazy dog."


@pytest.fixture
async def cloud() -> AsyncIterator[Comput3Emulator]:
    async with Comput3Emulator() as cloud:
        yield cloud


async def launch(cloud: Comput3Emulator) -> tuple[str, str]:
    """The id of a workload, and its node's address."""
    body = {"type": "media:fast", "expires": int(time.time()) + 600}
    async with httpx.AsyncClient(headers={"X-C3-API-KEY": cloud.key}, trust_env=False) as client:
        said = (await client.post(f"{cloud.url}/launch", json=body)).json()
    return said["workload"], f"http://{said['node']}"


@pytest.fixture
async def workload(cloud: Comput3Emulator, world: Emulator) -> str:
    """One node, for which there is a duty."""
    found, address = await launch(cloud)
    world.duties.append(duty("w-1", address))
    return found


@pytest.fixture
async def host(
    cloud: Comput3Emulator, workload: str, world: Emulator, tmp_path: Path
) -> AsyncIterator[HostProcess]:
    async with hosting(world, tmp_path, "comput3", C3_API_KEY=cloud.key) as host:
        yield host


def speak(world: Emulator, **asked) -> int:
    return world.give("csm", {"text": FOX, **asked})


def hear(world: Emulator, sound: bytes, **asked) -> int:
    world.files["speech.mp3"] = sound
    url = f"{world.url}/files/speech.mp3"
    return world.give("whisper", {"audio_url": "upload://1", **asked}, inputs={"audio_url": url})


async def test_what_is_said_is_what_is_heard(world: Emulator, host: HostProcess):
    spoken = speak(world)
    made = (await finish_of(world, spoken))["result"]
    assert (made["backend"], made["model"]) == ("csm-gradio", "csm")
    assert [file["name"] for file in made["files"]] == ["speech.mp3"]
    heard = hear(world, world.stored[f"{spoken}/speech.mp3"])
    result = (await finish_of(world, heard))["result"]
    assert (result["backend"], result["model"], result["text"]) == ("whisperx-gradio", "tiny.en", FOX)
    names = ["transcript.txt", "transcript.srt", "transcript.vtt", "transcript.json"]
    assert [file["name"] for file in result["files"]] == names
    words = [word["word"] for one in result["data"]["segments"] for word in one["words"]]
    assert " ".join(words) == FOX
    assert {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC", "gpu_class"} <= set(result["metrics"])
    assert "listening" in world.logs[heard]
    said = world.registered[0]
    assert (said["gpu_class"], said["capacity"]) == ("media:fast", 1)
    assert {one["engine"]: one["features"] for one in said["engines"]} == {
        "csm": ["clone"],
        "whisper": [],
        "portrait": [],
        "comfyui": [],
    }
    host.signal(signal.SIGTERM)
    assert await host.exit_code() == 0
    assert host.leftovers == []


async def test_a_voice_is_cloned_from_a_stereo_reference_too(
    world: Emulator, host: HostProcess, stereo: bytes
):
    world.files["voice.wav"] = stereo
    asked = {"voice": "clone", "reference_audio_url": "upload://1", "reference_text": "Hello."}
    inputs = {"reference_audio_url": f"{world.url}/files/voice.wav"}
    attempt = world.give("csm", {"text": FOX, **asked}, inputs=inputs)
    assert "result" in await finish_of(world, attempt)
    assert world.finished[attempt]["fault"] is None


async def test_faults_are_whose_they_are(cloud: Comput3Emulator, world: Emulator, host: HostProcess):
    topk, long = speak(world, topk=101), speak(world, max_audio_length=60_000)
    noise = hear(world, b"this is no sound")
    for attempt, field in ((topk, "topk"), (long, "max_audio_length")):
        fault = (await finish_of(world, attempt))["fault"]
        assert (fault["kind"], fault["code"]) == ("job", "parameter_out_of_range")
        assert fault["message"].startswith(f"{field}: ")
    assert (await finish_of(world, noise))["fault"]["kind"] == "job"
    cloud.knobs.next = ["csm_error", "whisper_error"]
    broken, silent = speak(world), hear(world, b"x")
    for attempt in (broken, silent):
        fault = (await finish_of(world, attempt))["fault"]
        assert (fault["kind"], fault["code"]) == ("host", "app_error")
    assert "out of memory" in world.finished[silent]["fault"]["message"]
    after = speak(world)
    assert (await finish_of(world, after))["result"]


async def test_a_cancelled_call_keeps_the_slot_until_it_ends(
    cloud: Comput3Emulator, world: Emulator, host: HostProcess
):
    cloud.knobs.turn({"work_s": 6.0, "heartbeat_s": 0.1})
    first = speak(world)
    await until(lambda: "speaking 1 sentence(s), " in world.logs.get(first, ""))
    world.cancel.add(first)
    await until(lambda: world.beats[-1]["attempts"] == [])
    second = speak(world)
    cloud.knobs.work_s = 0.0
    claims = len(world.nonces)
    await asyncio.sleep(0.4)
    assert (len(world.nonces), second in world.progress) == (claims, False)
    assert (await finish_of(world, second))["result"]
    assert first not in world.finished


async def test_a_node_that_dies_fails_its_call_and_gets_no_other(
    cloud: Comput3Emulator, workload: str, world: Emulator, host: HostProcess
):
    cloud.knobs.turn({"work_s": 30.0})
    first = speak(world)
    await until(lambda: "speaking" in world.logs.get(first, ""))
    await cloud.kill_node(workload)
    fault = (await finish_of(world, first))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "machine_unreachable")
    second = speak(world)
    await asyncio.sleep(1.0)
    assert second not in world.progress
    assert world.beats[-1]["status"] == "idle"
    world.duties.clear()
    await until(lambda: "duty_ends" in host.log)
    await until(lambda: not list((host.folder / "scratch").glob("run-*/*")))


async def test_a_node_that_never_comes_up_disturbs_nobody(
    cloud: Comput3Emulator, world: Emulator, host: HostProcess
):
    world.duties.append(duty("w-dead", "http://127.0.0.1:9"))
    world.duties.append(duty("w-odd", "not a name at all"))
    _, address = await launch(cloud)
    world.duties.append(duty("w-2", address))
    await until(lambda: set(world.workers) == {"w-1", "w-2"})
    assert (await finish_of(world, speak(world)))["result"]
    assert host.process.poll() is None


async def test_without_its_orchestrator_everything_ends_at_once(
    cloud: Comput3Emulator, world: Emulator, host: HostProcess
):
    cloud.knobs.turn({"work_s": 60.0})
    attempt = speak(world)
    await until(lambda: "speaking" in world.logs.get(attempt, ""))
    with Stopwatch() as took:
        host.let_go()
        assert await host.exit_code() == 0
    assert took.seconds < 3.5
    assert world.finished[attempt]["fault"]["code"] == "worker_stopped"
    assert host.leftovers == []


async def test_a_stop_gives_what_runs_its_grace(cloud: Comput3Emulator, world: Emulator, host: HostProcess):
    cloud.knobs.turn({"work_s": 60.0})
    attempt = speak(world)
    await until(lambda: "speaking" in world.logs.get(attempt, ""))
    host.signal(signal.SIGTERM)
    assert await host.exit_code() == 0
    assert world.finished[attempt]["fault"]["code"] == "worker_stopped"


@pytest.mark.parametrize(
    ("name", "extra", "said"),
    [("nobody", {}, "comput3"), ("comput3", {"C3_API_KEY": ""}, "C3_API_KEY")],
)
async def test_a_host_that_cannot_start_says_why(
    world: Emulator, tmp_path: Path, name: str, extra, said: str
):
    async with hosting(world, tmp_path, name, **extra) as host:
        assert await host.exit_code() == 2
        assert said in host.log

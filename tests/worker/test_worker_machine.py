"""What a worker finds its machine to be: its GPU, whether it is fit, what jobs take of it, what it tells of them."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from agent_orchestrator import Emulator
from conftest import Start, until
from machine_world import finish_of, libraries, metrics_of, speak
from nvidia.stand_in import COMPILER, NvidiaStandIn, compile_into
from prometheus_client.parser import text_string_to_metric_families

from gpulease.contract.agent import EngineOffer
from worker_image.machine import fitness
from worker_image.machine.gpu import class_of, find_gpu
from worker_image.serving.gate import UNFIT, Gate
from worker_image.serving.health import Health

pytestmark = pytest.mark.slow

COPY = {"program": "copy", "arguments": {"words": "more"}}


@pytest.fixture
def nvidia(tmp_path: Path) -> NvidiaStandIn:
    if COMPILER is None:
        pytest.skip("no C compiler")
    folder = tmp_path / "nvidia"
    folder.mkdir()
    return compile_into(folder)


LOOK = """
import json, sys
from worker_image.machine.fitness import check_device
from worker_image.machine.gpu import Gpu, find_gpu
found = {visible: find_gpu(visible) for visible in sys.argv[1:]}
about = {visible: gpu.as_json() if isinstance(gpu, Gpu) else gpu for visible, gpu in found.items()}
devices = {one: check_device(find_gpu(None), one).detail for one in ("auto", "cpu")}
print(json.dumps({"gpus": about, "devices": devices}))
"""


def printed(nvidia: NvidiaStandIn, *arguments: str) -> dict:
    """What a Python that has the stand-in for a driver prints."""
    environment = {**os.environ, **nvidia.environment}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "gpu_class"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA RTX A5000", "RTX A5000"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", "RTX 3080 Laptop"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_a_gpus_class_is_its_name_without_its_maker(name: str, gpu_class: str):
    assert class_of(name) == gpu_class


def test_the_driver_says_what_the_machine_has(nvidia: NvidiaStandIn):
    found = printed(nvidia, "-m", "worker_image", "--probe")
    assert found["gpu"] == {
        "gpu_class": "RTX 4090",
        "vram_gb": 24.0,
        "driver": "550.54.14",
        "cuda": "12.4",
        "now": {"used_mib": 500.0, "free_mib": 24064.0, "temperature_c": 41.0, "util": 0.37},
    }
    assert all(one["ok"] for one in found["fitness"])


def test_a_device_is_chosen_as_cuda_chooses(nvidia: NvidiaStandIn):
    second = {"1.name": "NVIDIA H200", "1.uuid": "GPU-2222", "1.total_mib": 143771, "1.used_mib": 0}
    nvidia.lines |= second
    nvidia.say(count=2)
    hidden = ("", "-1", "7", "none")
    gpus = printed(nvidia, "-c", LOOK, "1,0", "GPU-22", "0", *hidden)["gpus"]
    assert [gpus[one]["gpu_class"] for one in ("1,0", "GPU-22", "0")] == ["H200", "H200", "RTX 4090"]
    assert {gpus[one] for one in hidden} == {"CUDA_VISIBLE_DEVICES hides every GPU"}
    assert gpus["1,0"]["now"]["temperature_c"] is None, "what a driver lacks is unknown"
    nvidia.say(broken=18)
    assert "does not answer" in printed(nvidia, "-c", LOOK, "0")["gpus"]["0"]


def test_a_gpu_that_answers_and_does_not_compute_is_unfit(nvidia: NvidiaStandIn):
    assert printed(nvidia, "-c", LOOK)["devices"]["auto"] == "RTX 4090, 24 GB, driver 550.54.14, CUDA 12.4"
    nvidia.say(cuda_fails=719)
    found = printed(nvidia, "-c", LOOK)["devices"]
    assert re.search(r"cuMemAlloc_v2: CUDA_ERROR_LAUNCH_FAILED \(719\); GPULEASE_DEVICE=cpu", found["auto"])
    assert found["cpu"].startswith("not used")
    (nvidia.folder / "libcuda.so.1").unlink()
    assert "cannot be loaded" in printed(nvidia, "-c", LOOK)["devices"]["auto"]


def test_a_gpu_that_is_asked_for_must_be_there(tmp_path: Path):
    gpu = find_gpu("-1")
    assert isinstance(gpu, str)
    assert fitness.check_device(gpu, "auto").ok
    assert not fitness.check_device(gpu, "cuda").ok


@pytest.mark.parametrize(
    ("needs_gb", "vram_gb", "refused"), [(30, 24, True), (24, 24, False), (30, 0, False), (0, 24, False)]
)
def test_a_model_must_fit_into_the_gpu_if_there_is_one(needs_gb: float, vram_gb: float, refused: bool):
    offer = EngineOffer(engine="video", backend="diffusers", vram_gb=needs_gb)
    assert fitness.too_large(offer, vram_gb) == refused


def test_a_disk_without_room_is_unfit(tmp_path: Path):
    assert fitness.check_disk(tmp_path).ok
    assert list(tmp_path.iterdir()) == []
    gone = tmp_path / "gone"
    gone.mkdir()
    subject = fitness.Subject("no GPU", "auto", gone, frozenset())
    assert fitness.unfit(fitness.examine(subject)) is None
    gone.chmod(0o500)
    if os.geteuid():  # Whoever is root may write anywhere.
        assert "cannot be used" in str(fitness.unfit(fitness.examine(subject)))


def test_programs_must_start_where_an_engine_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subject = fitness.Subject("no GPU", "auto", tmp_path, frozenset({"musetalk"}))
    assert {one.name for one in fitness.examine(subject)} == {"gpu", "disk", "ffmpeg", "ffprobe"}
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "ffmpeg").write_text("#!/bin/sh\necho 'libavdevice.so.60: cannot open' >&2\nexit 127\n")
    (broken / "ffmpeg").chmod(0o700)
    monkeypatch.setenv("PATH", str(broken), prepend=os.pathsep)
    assert "ends with 127" in str(fitness.unfit(fitness.examine(subject)))
    machine = fitness.Subject("no GPU", "auto", tmp_path, frozenset({"csm"}))
    assert fitness.unfit(fitness.examine(machine)) is None


async def test_an_unfit_machine_never_reports_for_duty(world: Emulator, start: Start):
    worker = start(GPULEASE_DEVICE="cuda", CUDA_VISIBLE_DEVICES="-1")
    assert await worker.exit_code() == 5
    assert (world.registered, world.beats) == ([], [])
    assert "GPULEASE_DEVICE is cuda" in worker.log
    assert worker.leftovers() == []


async def test_what_is_found_is_registered_and_settings_win(
    world: Emulator, start: Start, nvidia: NvidiaStandIn
):
    start(**nvidia.environment)
    await until(lambda: world.beats)
    said, beat = world.registered[0], world.beats[0]
    assert (said["gpu_class"], said["vram_gb"]) == ("RTX 4090", 24.0)
    assert (beat["gpu_class"], beat["free_vram_gb"], beat["error"]) == ("RTX 4090", 23.5, None)
    nvidia.say(_0__used_mib=20468)
    await until(lambda: world.beats[-1]["free_vram_gb"] == 4.0)
    start(**nvidia.environment, GPULEASE_GPU_CLASS="RTX 4090 (24 GB)", GPULEASE_VRAM_GB="20")
    await until(lambda: len(world.registered) == 2)
    assert (world.registered[1]["gpu_class"], world.registered[1]["vram_gb"]) == ("RTX 4090 (24 GB)", 20.0)


async def test_a_job_tells_what_it_took(world: Emulator, start: Start, nvidia: NvidiaStandIn):
    start(**nvidia.environment, **libraries("speech"))
    nvidia.say(_0__self_mib=917, _0__util=80)
    large = speak(world, "large")
    metrics = await metrics_of(world, large)
    assert metrics["PEAK_VRAM_MIB"] == 917.0
    assert metrics["gpu_class"] == "RTX 4090"
    assert {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC"} <= set(metrics)
    assert metrics["PEAK_RAM_KB"] > 150_000
    small = await metrics_of(world, speak(world, "small"))
    assert small["PEAK_RAM_KB"] < metrics["PEAK_RAM_KB"] - 100_000, (
        "the peak of the job before was told again"
    )
    assert any(one["gpu_util"] == 0.8 for one in world.progress[large])


async def test_where_processes_are_unknown_what_came_on_top_counts(
    world: Emulator, start: Start, nvidia: NvidiaStandIn
):
    start(**nvidia.environment, **libraries("speech"))
    assert (await metrics_of(world, speak(world, "small")))["PEAK_VRAM_MIB"] == 0.0
    nvidia.say(_0__used_mib=1500)
    assert (await metrics_of(world, speak(world, "small")))["PEAK_VRAM_MIB"] == 1000.0


async def test_without_a_gpu_its_memory_is_0(world: Emulator, start: Start):
    start(CUDA_VISIBLE_DEVICES="-1")
    attempt = world.give("command", COPY, file=b"scene ")
    metrics = await metrics_of(world, attempt)
    assert metrics["PEAK_VRAM_MIB"] == 0.0
    assert metrics["gpu_class"] == "cpu"
    assert metrics["PEAK_RAM_KB"] > 0


async def test_prometheus_sees_what_it_does(world: Emulator, start: Start, nvidia: NvidiaStandIn):
    worker = start(**nvidia.environment, GPULEASE_WORKER_PORT="0", GPULEASE_WORKER_CAPACITY="2")
    await finish_of(world, world.give("command", COPY, file=b"scene "))
    await finish_of(world, world.give("command", {"program": "crash"}))
    port = re.search(r"listening.*port=(\d+)", worker.log)
    assert port is not None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}", trust_env=False) as client:
        reply = await client.get("/metrics")
    samples = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }
    assert samples["gpulease_worker_slots",] == 2
    assert samples["gpulease_worker_jobs_total", "succeeded", "command"] == 1
    assert samples["gpulease_worker_jobs_total", "host_fault", "command"] == 1
    assert samples["gpulease_worker_phase_seconds_count", "command", "inferring"] >= 1
    assert samples["gpulease_worker_heartbeats_total", "ok"] >= 1
    assert samples["gpulease_worker_input_bytes_total",] == len(b"scene ")
    assert samples["gpulease_worker_output_bytes_total",] > 0
    assert samples["gpulease_worker_gpu_memory_used_bytes",] == 500 * 1024**2
    assert samples["gpulease_worker_gpu_info", "12.4", "550.54.14", "RTX 4090"] == 1


async def test_a_machine_in_doubt_takes_no_work_until_it_was_looked_at():
    gate, mended, told = Gate(), [], []

    def examine():
        return (fitness.Finding("gpu", ok=bool(mended), detail="it is lost"),)

    health = Health(examine, gate)
    health.look_again_s, health.on_unfit = 0.01, told.append
    health.note("out_of_memory")
    health.note(None)
    health.note("cuda_error")
    health.note("engine_failed")
    health.note("cuda_error")
    assert gate.is_open
    health.note("out_of_memory")
    assert gate.held_by(UNFIT)
    await until(lambda: len(told) > 1)
    assert health.error == "gpu: it is lost"
    mended.append(True)
    async with asyncio.timeout(20):
        await gate.until_open()
    assert (health.error, set(told)) == (None, {"gpu: it is lost"})
    await health.aclose()


async def test_a_machine_that_cannot_be_examined_is_looked_at_again():
    gate, mended = Gate(), []

    def examine():
        if not mended:
            raise OSError("the scratch folder is gone")
        return ()

    health = Health(examine, gate)
    health.look_again_s = 0.01
    assert await health.look() == "examination: OSError: the scratch folder is gone"
    health.doubt()
    mended.append(True)
    async with asyncio.timeout(20):
        await gate.until_open()
    assert health.error is None
    await health.aclose()

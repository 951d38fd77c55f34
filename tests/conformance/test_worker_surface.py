"""What clients of the lip-sync workers find: `/hc` and `/generate` of a worker, and the heartbeat of an owner's one."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("worker", "emulators", "stand_ins")]

from generate_world import files_served, serving, start  # noqa: E402
from musetalk_checkout import make_checkout  # noqa: E402
from talking_media import face_film, speech  # noqa: E402

from b2.emulator import B2Emulator  # noqa: E402

ENROLMENT = "changeme-internal-key"
HEALTH = "curl http://localhost:8000/hc"
ORCHESTRATORS_HEALTH = "curl -s https://api.avatargen.online/health"
HEARTBEAT = {"status": "idle", "gpu_class": "RTX-local-buffer", "capacity": 1, "error": None}
START_S_MAX = 100
METRICS = {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC", "PEAK_VRAM_MIB", "PEAK_RAM_KB", "gpu_class"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from server import Server  # noqa: PLC0415  It looks in the folders that conftest names.

    server = Server(tmp_path_factory.mktemp("owners"))
    server.up.environment["INTERNAL_API_KEY"] = ENROLMENT
    with server as running:
        yield running


@pytest.fixture
async def worker(tmp_path):
    """A worker with a stand-in for MuseTalk's checkout, its owner's bucket, and the files of the request."""
    files = {"video.mp4": face_film(tmp_path / "v.mp4", 1.0), "audio.wav": speech(tmp_path / "a.wav", 1.0)}
    async with B2Emulator() as b2, files_served(files) as url:
        settings = {
            "MUSETALK_WORKDIR": str(make_checkout(tmp_path / "musetalk")),
            "GPULEASE_DEVICE": "cpu",
            "GPU_CLASS_NAME": "RTX-3080",
            "B2_KEY_ID": b2.key_id,
            "B2_APP_KEY": b2.app_key,
            "B2_BUCKET_NAME": b2.bucket,
            "B2_PREFIX": "avatar/outputs",
            "GPULEASE_B2_REALM": b2.url,
        }
        async with serving(tmp_path / "w", **settings) as running:
            running.files_url, running.b2 = url, b2
            yield running


def asked(url):
    return {
        "musetalk_job_id": "job-123",
        "video_url": f"{url}/video.mp4",
        "audio_url": f"{url}/audio.wav",
        "aspect_ratio": "9:16",
        "resolution": "720p",
        "params": {},
    }


def beat(server, worker_id, key=ENROLMENT, **body):
    return httpx.post(
        f"{server.url}/internal/buffer/workers/{worker_id}/heartbeat",
        json=HEARTBEAT | body,
        headers={"X-Internal-API-Key": key},
        trust_env=False,
    )


def shown(server, worker_id):
    workers = server.admin.get("/v1/workers").json()["items"]
    return next((one for one in workers if one["id"] == worker_id), None)


def offering(server, worker_id):
    """The worker, once it has said what it runs: it tries its engines before."""
    worker = shown(server, worker_id)
    return worker and worker["engines"] and worker


async def test_worker_health_by_curl(server, worker):
    address = str(worker.client.base_url).rstrip("/")
    answer = await asyncio.to_thread(server.curl, HEALTH, None, {"http://localhost:8000": address})
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_worker_generates_and_delivers_to_its_owners_bucket(worker):
    reply = await worker.generate(asked(worker.files_url))
    assert reply.status_code == 200, reply.text + worker.log
    answer = reply.json()
    assert answer["status"] == "ok"
    assert (answer["b2_bucket"], answer["b2_file_name"]) == ("talking-avatar", "avatar/outputs/job-123.mp4")
    assert set(answer["metrics"]) >= METRICS
    assert answer["metrics"]["gpu_class"] == "RTX-3080"
    stored = worker.b2.files()
    assert set(stored) == {"avatar/outputs/job-123.mp4", "avatar/outputs/job-123.mp4.json"}
    assert stored["avatar/outputs/job-123.mp4"][4:8] == b"ftyp"


async def test_worker_refuses_with_4xx_and_a_queue_gets_200_with_the_status_inside(worker):
    wrong = asked(worker.files_url) | {"aspect_ratio": "2:1"}
    plain = await worker.generate(wrong)
    assert plain.status_code == 422
    assert "aspect_ratio" in plain.text
    queued = await worker.generate(wrong, **{"Salad-Job-Id": "one"})
    assert (queued.status_code, queued.json()["status"]) == (200, "failed")
    assert "aspect_ratio" in queued.json()["error"]


def test_worker_heartbeat_is_taken_and_enrols(server):
    reply = beat(server, "buffer-orch-local-1")
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
    worker = shown(server, "buffer-orch-local-1")
    assert (worker["gpu_class"], worker["capacity"], worker["online"]) == ("RTX-local-buffer", 1, True)
    assert beat(server, "buffer-orch-local-1", status="busy").status_code == 200


def test_worker_heartbeat_with_a_wrong_key_is_an_http_error(server):
    assert beat(server, "buffer-of-nobody", key="wrong").status_code == 401
    assert shown(server, "buffer-of-nobody") is None


def test_worker_with_the_documented_environment_reports_for_duty(server, tmp_path):
    settings = {
        "BUFFER_WORKER_ID": "buffer-orch-local-2",
        "BUFFER_ORCHESTRATOR_BASE_URL": server.url,
        "ORCHESTRATOR_BASE_URL": "http://127.0.0.1:1",
        "GPU_CLASS_NAME": "RTX-local-buffer",
        "BUFFER_CAPACITY": "1",
        "BUFFER_POLL_INTERVAL_SEC": "5",
        "INTERNAL_API_KEY": ENROLMENT,
        "GPULEASE_SCRATCH": str(tmp_path / "scratch"),
        "GPULEASE_WORKER_PORT": "0",
    }
    process = start(tmp_path / "worker.log", settings)
    try:
        worker = server.until(lambda: offering(server, "buffer-orch-local-2"), START_S_MAX)
        assert (worker["gpu_class"], worker["capacity"], worker["online"]) == ("RTX-local-buffer", 1, True)
        assert worker["provider"] == "buffer"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_worker_orchestrators_health_by_curl(server):
    swap = {"https://api.avatargen.online": server.url}
    answer = server.curl(ORCHESTRATORS_HEALTH, None, swap)
    assert (answer.status, answer.json()["status"]) == (200, "ok")

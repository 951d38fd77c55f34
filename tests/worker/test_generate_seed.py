"""`POST /generate` with the JSON of the first generation: a real worker, MuseTalk's stand-in, B2 and a real S3."""

import hashlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))
sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))

from generate_world import Serving, files_served, serving
from musetalk_checkout import make_checkout
from seaweed import Seaweed
from talking_media import face_film, speech

from b2.emulator import B2Emulator
from worker_image.media.probe import probe

pytestmark = pytest.mark.slow

MACHINE = {"GPULEASE_DEVICE": "cpu", "GPU_CLASS_NAME": "RTX-3080"}
METRICS = {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC", "PEAK_VRAM_MIB", "PEAK_RAM_KB", "gpu_class"}


def b2_settings(b2: B2Emulator) -> dict[str, str]:
    return {
        "B2_KEY_ID": b2.key_id,
        "B2_APP_KEY": b2.app_key,
        "B2_BUCKET_NAME": b2.bucket,
        "GPULEASE_B2_REALM": b2.url,
    }


@pytest.fixture
async def inputs(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    files = {"video.mp4": face_film(tmp_path / "v.mp4", 1.0), "audio.wav": speech(tmp_path / "a.wav", 1.0)}
    async with files_served(files) as url:
        yield {"video_url": f"{url}/video.mp4", "audio_url": f"{url}/audio.wav"}


def seeds_body(inputs: dict[str, str]) -> dict:
    return {
        "musetalk_job_id": "job-123",
        **inputs,
        "aspect_ratio": "9:16",
        "resolution": "360p",
        "params": {},
    }


def check_seeds_answer(answer: dict, serving: Serving) -> None:
    assert answer["status"] == "ok", serving.log
    assert set(answer["metrics"]) >= METRICS
    assert answer["metrics"]["gpu_class"] == "RTX-3080"
    numbers = {name: answer["metrics"][name] for name in METRICS - {"gpu_class"}}
    assert all(isinstance(value, int | float) and value >= 0 for value in numbers.values())
    assert 0 < numbers["GENERATION_TIME_SEC"] <= numbers["SCRIPT_WALL_TIME_SEC"]


async def test_the_seeds_request_ends_in_b2(tmp_path: Path, inputs: dict[str, str]):
    checkout = make_checkout(tmp_path / "musetalk")
    own = MACHINE | {"MUSETALK_WORKDIR": str(checkout)}
    async with B2Emulator() as b2, serving(tmp_path / "w", **own, **b2_settings(b2)) as worker:
        reply = await worker.generate(seeds_body(inputs) | {"priority": "of another system"})
        assert reply.status_code == 200, reply.text + worker.log
        answer = reply.json()
        check_seeds_answer(answer, worker)
        name = "avatar/outputs/job-123.mp4"
        assert (answer["b2_bucket"], answer["b2_file_name"]) == ("talking-avatar", name)
        assert set(answer) == {
            *("status", "b2_bucket", "b2_file_name", "metrics"),
            *("job_id", "backend", "model", "text", "data", "files", "ignored"),
        }
        assert sorted(b2.files()) == [name, f"{name}.json"]
        film = b2.files()[name]
        (tmp_path / "made.mp4").write_bytes(film)
        seen = probe(tmp_path / "made.mp4", "made")
        assert (seen.width, seen.height, seen.audio_codec) == (360, 640, "aac")
        check_sidecar(json.loads(b2.files()[f"{name}.json"]), answer, film)
        again = await worker.generate(seeds_body(inputs))
        assert again.json() == answer
        assert b2.calls.count("b2_upload_file") == 2  # The film and its sidecar, once.
        assert not list((tmp_path / "w/scratch").rglob("*.mp4"))


def check_sidecar(said: dict, answer: dict, film: bytes) -> None:
    made_at = datetime.fromisoformat(said.pop("created_at"))
    assert abs(datetime.now(UTC) - made_at) < timedelta(minutes=2)
    assert said == {
        "job_id": "job-123",
        "engine": "musetalk",
        "model": answer["model"],
        "backend": answer["backend"],
        "bucket": "talking-avatar",
        "file_name": "avatar/outputs/job-123.mp4",
        "content_type": "video/mp4",
        "size_bytes": len(film),
        "sha256": hashlib.sha256(film).hexdigest(),
        "metrics": answer["metrics"],
    }


async def test_the_seeds_request_ends_in_a_real_s3_and_in_a_folder(tmp_path: Path, inputs: dict[str, str]):
    checkout, kept = make_checkout(tmp_path / "musetalk"), tmp_path / "output"
    own = {
        "MUSETALK_WORKDIR": str(checkout),
        **MACHINE,
        "MINIO_BUCKET": "results",
        "OUTPUT_DIR": str(kept),
    }
    with Seaweed(tmp_path / "s3") as s3:
        minio = {
            "MINIO_ENDPOINT": s3.url.removeprefix("http://"),
            "MINIO_ACCESS_KEY": s3.access_key,
            "MINIO_SECRET_KEY": s3.secret_key,
            # Readers reach it under another name, which must be the one that was signed.
            "MINIO_PUBLIC_URL": s3.url.replace("127.0.0.1", "localhost"),
        }
        async with serving(tmp_path / "w", **own, **minio) as worker, httpx.AsyncClient() as reader:
            answer = (await worker.generate(seeds_body(inputs))).json()
            check_seeds_answer(answer, worker)
            assert (answer["minio_bucket"], answer["minio_object"]) == ("results", "job-123.mp4")
            assert "b2_bucket" not in answer
            url = answer["result_url"]
            assert url.startswith("http://localhost:")
            assert "X-Amz-Expires=604800" in url
            given = await reader.get(url)
            assert (given.status_code, given.headers["content-type"]) == (200, "video/mp4")
            assert [path.name for path in kept.iterdir()] == ["job-123.mp4"]
            assert (kept / "job-123.mp4").read_bytes() == given.content
            assert hashlib.sha256(given.content).hexdigest() == answer["files"][0]["sha256"]
            assert (await reader.get(url.replace("job-123", "job-124"))).status_code == 403

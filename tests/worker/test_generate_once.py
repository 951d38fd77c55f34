"""A job id is one job, whatever callers do: a real worker process, and B2 in good and bad weather."""

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from conftest import until
from generate_world import Serving, making, serving, start

from b2.emulator import B2Emulator

pytestmark = pytest.mark.slow


@pytest.fixture
async def b2() -> AsyncIterator[B2Emulator]:
    async with B2Emulator() as emulator:
        yield emulator


def b2_settings(b2: B2Emulator, **more: str) -> dict[str, str]:
    own = {"B2_KEY_ID": b2.key_id, "B2_APP_KEY": b2.app_key, "B2_BUCKET_NAME": b2.bucket}
    return {**own, "B2_PREFIX": "/out/", "GPULEASE_B2_REALM": b2.url, **more}


@pytest.fixture
async def worker(tmp_path: Path, b2: B2Emulator) -> AsyncIterator[Serving]:
    async with serving(tmp_path / "w", **b2_settings(b2)) as one:
        yield one


async def test_the_same_job_runs_once(worker: Serving, b2: B2Emulator):
    first, joined = await asyncio.gather(worker.generate(making("j", 0.5)), worker.generate(making("j", 0.5)))
    later = await worker.generate(making("j", 0.5))
    assert first.status_code == 200, first.text + worker.log
    assert first.json() == joined.json() == later.json()
    assert worker.runs == 1
    assert first.json()["b2_file_name"] == "out/j.zip"
    assert sorted(b2.files()) == ["out/j.zip", "out/j.zip.json"]
    (file,) = first.json()["files"]
    content = b2.files()["out/j.zip"]
    assert (file["size_bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert "url" not in file
    assert (await worker.client.get("/generate/j/files/result.zip")).status_code == 404


async def test_another_body_under_the_same_id_is_a_conflict(worker: Serving):
    running = asyncio.create_task(worker.generate(making("j", 1)))
    await until(lambda: worker.runs)
    while_running = await worker.generate(making("j", 0))
    assert (await running).status_code == 200
    afterwards = await worker.generate(making("j", 0))
    for reply in (while_running, afterwards):
        assert (reply.status_code, reply.headers["content-type"]) == (409, "application/problem+json")
    assert worker.runs == 1


async def test_whoever_hangs_up_gets_the_answer_later(worker: Serving):
    body = json.dumps(making("j", 1)).encode()
    with socket.create_connection((worker.client.base_url.host, worker.client.base_url.port)) as impatient:
        head = f"POST /generate HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        impatient.sendall(f"{head}\r\n\r\n".encode() + body)
        await until(lambda: worker.runs)
    reply = await worker.generate(making("j", 1))
    assert (reply.status_code, reply.json()["status"], worker.runs) == (200, "ok", 1)


async def test_busy_pods_and_a_cut_connection_are_lived_through(worker: Serving, b2: B2Emulator):
    b2.knobs.busy_uploads, b2.knobs.cut_uploads = 7, 1
    reply = await worker.generate(making("j"))
    assert reply.status_code == 200, reply.text + worker.log
    assert sorted(b2.files()) == ["out/j.zip", "out/j.zip.json"]
    assert worker.runs == 1


async def test_the_next_job_runs_while_the_last_ones_files_are_stored(worker: Serving, b2: B2Emulator):
    await worker.generate(making("warm"))
    b2.knobs.slow_s = 1.0
    slow = asyncio.create_task(worker.generate(making("first")))
    await until(lambda: worker.runs == 2)
    replies = [await worker.generate(making("next"))]
    while replies[-1].status_code == 429:
        await asyncio.sleep(0.05)
        replies.append(await worker.generate(making("next")))
    assert replies[-1].status_code == (await slow).status_code == 200
    calls = b2.calls
    assert calls.count("b2_upload_file") == 6


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"B2_APP_KEY": "wrong"}, "bucket_refused"),
        ({"B2_BUCKET_NAME": "nowhere"}, "bucket_missing"),
    ],
)
async def test_what_the_owner_has_wrong_is_said(
    tmp_path: Path, b2: B2Emulator, wrong: dict[str, str], code: str
):
    async with serving(tmp_path / "w", **b2_settings(b2, **wrong)) as worker:
        reply = await worker.generate(making("j"))
        assert (reply.status_code, reply.json()["title"]) == (500, code)
        assert next(iter(wrong)) in reply.json()["detail"]
        assert "masterKey" not in reply.text + worker.log
        salad = await worker.generate(making("j"), **{"Salad-Job-Id": "s"})
        assert (salad.status_code, salad.json()["status"]) == (200, "failed")
        assert not [path for path in (tmp_path / "w/scratch/local").rglob("*") if path.is_file()]


async def test_without_a_bucket_files_are_served_and_kept(tmp_path: Path):
    kept = tmp_path / "kept"
    async with serving(tmp_path / "w", OUTPUT_DIR=str(kept)) as worker:
        answer = (await worker.generate(making("j"))).json()
        content = (await worker.client.get(answer["files"][0]["url"])).content
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"j.zip": content}
        assert not {"b2_bucket", "minio_bucket", "result_url"} & set(answer)


def test_a_half_set_bucket_stops_the_start(tmp_path: Path):
    log = tmp_path / "log"
    process = start(log, {"B2_KEY_ID": "k", "MINIO_ENDPOINT": "m:9000", "MINIO_SECRET_KEY": "s"})
    assert process.wait(60) == 2
    said = log.read_text().splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "B2_APP_KEY",
        "B2_BUCKET_NAME",
        "MINIO_BUCKET",
        "MINIO_ACCESS_KEY",
    ]


async def test_the_worker_ends_in_time_while_b2_hangs(tmp_path: Path, b2: B2Emulator):
    async with serving(tmp_path / "w", **b2_settings(b2)) as worker:
        b2.knobs.slow_s = 600
        asking = asyncio.create_task(worker.generate(making("j")))
        await until(lambda: worker.runs)
        await asyncio.sleep(0.5)
        worker.process.terminate()
        await until(lambda: worker.process.poll() is not None, 20)
        reply = await asking
        assert (reply.status_code, reply.json()["title"]) == (503, "worker_stopped")

"""The worker's own HTTP, with real engine processes behind it."""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from conftest import PROGRAMS, until

from worker_image.engines.base import EngineConfig
from worker_image.engines.registry import probe_all
from worker_image.execute import Executor
from worker_image.host.pool import HostPool
from worker_image.local import LocalJobs
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.slots import Slots
from worker_image.web.app import make_app

pytestmark = pytest.mark.slow

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1], 'made.txt').write_text('made')"
SEEDS_BODY = {
    "musetalk_job_id": "job-123",
    "video_url": "https://example.com/video.mp4",
    "audio_url": "https://example.com/audio.wav",
    "aspect_ratio": "9:16",
    "resolution": "720p",
    "params": {},
}


def job(program: str, job_id: str, **arguments) -> dict:
    return {"engine": "command", "job_id": job_id, "input": {"program": program, "arguments": arguments}}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    write = {"executable": sys.executable, "arguments": ["-c", WRITE, "$RENDERONLINE:@output_dir"]}
    programs = tmp_path / "programs.json"
    programs.write_text(json.dumps({**PROGRAMS, "write": write}))
    config = EngineConfig(commands=str(programs))
    offers, _ = probe_all(config)
    pool = HostPool(config, tmp_path / "hosts")
    executor = Executor(pool, tuple(offers), Prefetched(tmp_path / "prefetched"), "cpu")
    jobs = LocalJobs(executor, Slots(1), Fetcher(), tmp_path / "local")
    app = make_app(jobs, executor.offers, None)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        yield client
    await jobs.stop()
    await pool.close()


async def test_the_probe_answers(client: httpx.AsyncClient):
    reply = await client.get("/hc")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


async def test_a_job_runs_once_and_its_file_can_be_had(client: httpx.AsyncClient):
    first, again = await asyncio.gather(
        *[client.post("/generate", json=job("write", "j-1")) for _ in range(2)]
    )
    assert first.status_code == 200, first.text
    assert first.json() == again.json() == (await client.post("/generate", json=job("write", "j-1"))).json()
    (file,) = first.json()["files"]
    content = (await client.get(file["url"])).content
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size_bytes"], file["sha256"])
    assert first.json()["backend"] == "command"
    assert (await client.get("/generate/j-1/files/other")).status_code == 404


async def test_a_busy_worker_says_so(client: httpx.AsyncClient, tmp_path: Path):
    long = asyncio.create_task(client.post("/generate", json=job("sleep", "j-1", seconds=1)))
    await until(lambda: list(tmp_path.glob("local/*")))
    reply = await client.post("/generate", json=job("write", "j-2"))
    assert reply.status_code == 429
    assert reply.headers["content-type"] == "application/problem+json"
    assert (await long).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (SEEDS_BODY, 503),
        ({"engine": "portrait", "input": {}}, 422),
        ({"engine": "nonsense", "input": {}}, 404),
        ({"engine": "command", "input": {"program": 7}}, 422),
        (job("unheard-of", "j"), 503),
        (job("sleep", "j", seconds="long"), 422),
        ([], 422),
    ],
)
async def test_what_cannot_run_is_a_problem_document(client: httpx.AsyncClient, body, status: int):
    reply = await client.post("/generate", json=body)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


UNSAFE_IDS = ["../../etc/passwd", "a/b", ".hidden", "-rf", "", "a\nb", "a b", "ä", "x" * 129, 7, ["j"], "a\0"]


async def test_an_unsafe_id_is_refused_before_anything(client: httpx.AsyncClient, tmp_path: Path):
    for job_id in UNSAFE_IDS:
        named = {"job_id": job("write", "j"), "musetalk_job_id": SEEDS_BODY}
        for field, whole in named.items():
            body = whole | {field: job_id}
            reply = await client.post("/generate", json=body)
            assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, field)
            reply = await client.post("/generate", json=body, headers={"Salad-Job-Id": "s"})
            assert (reply.status_code, reply.json()["status"]) == (200, "failed")
    assert not list(tmp_path.glob("local/*"))  # noqa: ASYNC240  Nothing else runs here.


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"[" * 100_000, b"\xff", b" " * (8 * 1024**2 + 1)]
)
async def test_what_is_no_job_is_refused(client: httpx.AsyncClient, content: bytes):
    reply = await client.post("/generate", content=content)
    assert reply.status_code == (413 if len(content) > 1_000_000 else 422)
    assert reply.headers["content-type"] == "application/problem+json"
    reply = await client.post("/generate", content=content, headers={"Salad-Job-Id": "s"})
    assert (reply.status_code, reply.json()["status"]) == (200, "failed")


async def test_another_body_under_the_same_id_is_a_conflict(client: httpx.AsyncClient):
    assert (await client.post("/generate", json=job("write", "j"))).status_code == 200
    other = {"engine": "command", "job_id": "j", "input": {"program": "sleep", "arguments": {"seconds": 0}}}
    assert (await client.post("/generate", json=other)).status_code == 409


async def test_a_value_that_the_seed_does_not_know_is_named(client: httpx.AsyncClient):
    for field, value in (("aspect_ratio", "7:3"), ("resolution", "8K"), ("video_url", "file:///etc/passwd")):
        reply = await client.post("/generate", json=SEEDS_BODY | {field: value})
        assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, field)
        assert field in reply.json()["detail"]


async def test_salads_queue_always_gets_200(client: httpx.AsyncClient):
    headers = {"Salad-Job-Id": "s-1"}
    reply = await client.post("/generate", json=SEEDS_BODY, headers=headers)
    assert (reply.status_code, reply.json()["status"]) == (200, "failed")
    assert "musetalk" in reply.json()["error"]
    reply = await client.post("/generate", json=job("write", "j"), headers=headers)
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("host", "key", "status"),
    [
        ("203.0.113.5", None, 401),
        ("203.0.113.5", "wrong", 401),
        ("::ffff:203.0.113.5", None, 401),
        ("203.0.113.5", "wk", 503),
        ("127.0.0.1", None, 503),
        ("::ffff:127.0.0.1", None, 503),
    ],
)
async def test_other_machines_need_the_key(tmp_path: Path, host: str, key: str | None, status: int):
    executor = Executor(HostPool(EngineConfig(), tmp_path), (), Prefetched(tmp_path / "p"), "cpu")
    jobs = LocalJobs(executor, Slots(1), Fetcher(), tmp_path)
    transport = httpx.ASGITransport(make_app(jobs, (), "wk"), client=(host, 4711))
    headers = {"X-Internal-API-Key": key} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://worker", headers=headers) as client:
        assert (await client.get("/hc")).status_code == 200
        assert (await client.post("/generate", json=SEEDS_BODY)).status_code == status
    await jobs.stop()

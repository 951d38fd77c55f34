"""Uploads and results where the storage is a bucket, from the API's side: grants, parts, faults, retention."""

import base64
import hashlib
import os
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from seaweed import Seaweed

from orchestrator.settings import Settings

LARGE_BYTES = 65 * 1024**2
PART_BYTES = 16 * 1024**2


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with Seaweed(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def settings(tmp_path, s3):
    return Settings(
        data=tmp_path,
        providers=(),
        reconcile_period_s=3600,
        health_period_s=3600,
        storage="s3",
        minio_endpoint=s3.url,
        minio_bucket=s3.bucket,
        minio_access_key=s3.access_key,
        minio_secret_key=s3.secret_key,
        _env_file=None,
    )


@pytest.fixture
async def outside():
    """Who has no key but a signed URL."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        yield http


async def granted(agent, job, size_bytes, name="film.mp4"):
    said = {"name": name, "size_bytes": size_bytes, "content_type": "video/mp4"}
    reply = await agent.post(f"attempts/{job['attempt']}/upload", **said)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def completed(agent, job, grant, etags, **other):
    said = {"key": grant["key"], "upload_id": grant["upload_id"], "etags": etags} | other
    return await agent.post(f"attempts/{job['attempt']}/upload/complete", **said)


async def running(world):
    await world.submit()
    agent = await world.agent()
    return agent, await agent.claim()


def result_of(grant, size_bytes):
    file = {"name": "film.mp4", "key": grant["key"], "size_bytes": size_bytes}
    return {"result": {"backend": "test", "files": [file]}}


async def test_an_upload_lies_in_the_bucket_and_is_an_input_by_signed_url(world, outside, s3):
    sent = await world.http.post("/v1/uploads", params={"name": "über.wav"}, content=b"RIFF sound")
    assert sent.status_code == 201, sent.text
    await world.submit(engine="whisper", input={"audio_url": sent.json()["url"]})
    agent = await world.agent({"engine": "whisper", "backend": "test", "models": ["base", "small"]})
    url = (await agent.claim())["inputs"]["audio_url"]
    assert url.startswith(f"{s3.url}/{s3.bucket}/uploads/")
    assert (await outside.get(url)).content == b"RIFF sound"


async def test_a_result_goes_straight_to_the_bucket(world, outside, s3):
    agent, job = await running(world)
    grant = await granted(agent, job, 4)
    assert (grant["bucket"], grant["object_name"], grant["parts"]) == (s3.bucket, grant["key"], [])
    assert (await agent.finish(job, **result_of(grant, 4))).status_code == 422
    assert (await outside.put(grant["url"], content=b"film", headers=grant["headers"])).is_success
    assert (await agent.finish(job, **result_of(grant, 5))).status_code == 422
    assert (await agent.finish(job, **result_of(grant, 4))).status_code == 200
    (file,) = (await world.http.get(f"/v1/jobs/{job['job_id']}")).json()["result"]["files"]
    assert (await outside.get(file["url"])).content == b"film"


async def test_a_large_result_comes_in_parts(world, outside):
    agent, job = await running(world)
    grant = await granted(agent, job, LARGE_BYTES)
    sizes = [part["size_bytes"] for part in grant["parts"]]
    assert sizes == [PART_BYTES] * 4 + [LARGE_BYTES - 4 * PART_BYTES]
    content, etags = os.urandom(PART_BYTES), []
    for part, size in zip(grant["parts"], sizes, strict=True):
        sent = content[:size]
        md5 = base64.b64encode(hashlib.md5(sent).digest()).decode()
        reply = await outside.put(part["url"], content=sent, headers={"Content-MD5": md5})
        assert reply.status_code == 200, reply.text
        etags.append(reply.headers["etag"])
    assert (await agent.finish(job, **result_of(grant, LARGE_BYTES))).status_code == 422
    assert [(await completed(agent, job, grant, etags)).status_code for _ in range(2)] == [200, 200]
    assert (await agent.finish(job, **result_of(grant, LARGE_BYTES))).status_code == 200


async def test_only_its_own_attempt_completes_an_upload(world, outside):
    (mine, job), (other, theirs) = await running(world), await running(world)
    grant = await granted(mine, job, LARGE_BYTES)
    assert (await completed(other, theirs, grant, ['"e"'])).status_code == 422
    assert (await completed(other, job, grant, ['"e"'])).status_code == 409
    climbing = f"jobs/{theirs['job_id']}/{theirs['attempt']}/../../{grant['key']}"
    assert (await completed(other, theirs, grant, ['"e"'], key=climbing)).status_code == 410
    assert (await completed(mine, job, grant, ['"e"'])).status_code == 410
    assert (await completed(mine, job, grant, [])).status_code == 422
    await world.http.post(f"/v1/jobs/{job['job_id']}/cancel")
    assert (await completed(mine, job, grant, ['"e"'])).status_code == 409


async def test_agents_are_told_where_our_urls_lead(world, s3):
    agent = await world.agent()
    told = (await agent.post("register", engines=[])).json()
    assert told["origins"] == [s3.url]
    assert told["origin"] != s3.url


async def test_a_url_of_ours_may_be_given_back_to_us_although_its_address_is_private(world, s3):
    ours = {"engine": "whisper", "input": {"audio_url": f"{s3.url}/{s3.bucket}/a.wav"}}
    assert (await world.http.post("/v1/jobs", json=ours)).status_code == 202
    other = {"engine": "whisper", "input": {"audio_url": "http://127.0.0.1:1/a.wav"}}
    assert (await world.http.post("/v1/jobs", json=other)).status_code == 422


async def test_a_storage_that_is_away_is_said_and_retention_catches_up(world, s3, outside):
    agent, job = await running(world)
    grant = await granted(agent, job, 4)
    await outside.put(grant["url"], content=b"film", headers=grant["headers"])
    assert (await agent.finish(job, **result_of(grant, 4))).status_code == 200
    left = await granted(*(await running(world)), LARGE_BYTES)
    world.clock.advance(8 * 86_400)
    s3.kill()
    try:
        away = await world.http.post("/v1/uploads", content=b"x")
        assert (away.status_code, away.json()["title"]) == (503, "The storage does not answer")
        with pytest.raises(Exception, match="S3 at"):
            await world.orchestrator.retention.sweep()
    finally:
        s3.start()
    storage = world.orchestrator.parts.storage
    assert await storage.stat(grant["key"]) is not None
    await world.orchestrator.retention.sweep()
    assert await storage.stat(grant["key"]) is None
    assert (await outside.put(left["parts"][-1]["url"], content=b"x" * 1024**2)).status_code == 404

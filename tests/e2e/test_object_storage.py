"""The whole way of a job where files lie in a bucket: a real S3 server, real processes, and the server's death."""

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from seaweed import Seaweed
from up import Up

from b2.emulator import B2Emulator

BIG_BYTES = 70_000_000
"""Above this side of it, a result goes in parts."""
COPY = """
import pathlib, sys, time
source, out, seconds = sys.argv[1:]
time.sleep(float(seconds))
pathlib.Path(out, "copy.txt").write_bytes(pathlib.Path(source).read_bytes()[::-1])
"""
BIG = f"""
import pathlib, random, sys
pathlib.Path(sys.argv[1], "big.bin").write_bytes(random.Random(7).randbytes({BIG_BYTES}))
"""


@pytest.fixture
def s3(tmp_path):
    with Seaweed(tmp_path / "s3", bucket="c3-render-output") as server:
        yield server


def programs(tmp_path: Path) -> Path:
    """The configuration of `command`, with two programs more."""
    commands = tmp_path / "programs.json"
    known = json.loads((tmp_path / "commands.json").read_text())
    copied = [
        "-c",
        COPY,
        "$RENDERONLINE:@uploaded_file",
        "$RENDERONLINE:@output_dir",
        "$RENDERONLINE:seconds",
    ]
    known["copy"] = {
        "executable": sys.executable,
        "arguments": copied,
        "types": {"seconds": "real"},
        "extension": ".txt",
    }
    known["big"] = {"executable": sys.executable, "arguments": ["-c", BIG, "$RENDERONLINE:@output_dir"]}
    commands.write_text(json.dumps(known))
    return commands


@pytest.fixture
def stored(up, s3, tmp_path):
    """The server on that bucket."""
    up.environment |= {
        "GPULEASE_COMMANDS": str(programs(tmp_path)),
        "GPULEASE_STORAGE": "s3",
        "MINIO_ENDPOINT": s3.url.removeprefix("http://"),
        "MINIO_ACCESS_KEY": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }
    up.start()
    return up


def copy_job(up: Up, content: bytes, seconds: float = 0.0) -> str:
    uploaded = up.http.post("/v1/uploads", params={"name": "in.txt"}, content=content).json()
    asked = {"program": "copy", "file_url": uploaded["url"], "arguments": {"seconds": seconds}}
    reply = up.http.post("/v1/jobs", json={"engine": "command", "input": asked})
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def fetched(job: dict, s3: Seaweed) -> zipfile.ZipFile:
    (file,) = job["result"]["files"]
    assert file["url"].startswith(s3.url)
    reply = httpx.get(file["url"], timeout=60)
    assert reply.status_code == 200, reply.text
    assert len(reply.content) == file["size_bytes"]
    assert hashlib.sha256(reply.content).hexdigest() == file["sha256"]
    return zipfile.ZipFile(io.BytesIO(reply.content))


def names(s3: Seaweed) -> list[str]:
    client = s3.client()
    try:
        found = client.list_objects_v2(Bucket=s3.bucket).get("Contents", [])
    finally:
        client.close()
    return [one["Key"] for one in found]


@pytest.mark.slow
def test_a_job_goes_the_whole_way_over_a_bucket(stored, s3):
    job_id = copy_job(stored, b"made of bytes")
    done = stored.until_status(job_id, "succeeded", 60)
    assert fetched(done, s3).read("copy.txt") == b"setyb fo edam"
    assert {key.partition("/")[0] for key in names(s3)} == {"uploads", "jobs"}
    assert not (stored.data / "storage").exists()
    # A result's URL is a URL of ours, and so an input like any other, although the address is private.
    (file,) = done["result"]["files"]
    asked = {"program": "copy", "file_url": file["url"], "arguments": {"seconds": 0}}
    again = stored.http.post("/v1/jobs", json={"engine": "command", "input": asked})
    assert again.status_code == 202, again.text


@pytest.mark.slow
def test_a_large_result_goes_in_parts(stored, s3):
    reply = stored.http.post(
        "/v1/jobs", json={"engine": "command", "input": {"program": "big", "arguments": {}}}
    )
    done = stored.until_status(reply.json()["id"], "succeeded", 90)
    content = fetched(done, s3).read("big.bin")
    assert len(content) == BIG_BYTES
    client = s3.client()
    (key,) = [key for key in names(s3) if key.startswith("jobs/")]
    assert client.head_object(Bucket=s3.bucket, Key=key)["ETag"].strip('"').endswith("-5")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3.bucket)
    client.close()


@pytest.mark.slow
def test_no_result_is_lost_when_the_storage_dies_and_comes_back(stored, s3):
    job_id = copy_job(stored, b"kept", seconds=2.0)
    stored.until_status(job_id, "running", 60)
    stored.until(lambda: stored.job(job_id)["phase"] == "inferring", 30)
    s3.kill()
    stored.until(lambda: stored.job(job_id)["phase"] == "uploading", 30)
    time.sleep(3)
    assert stored.job(job_id)["status"] == "running"
    s3.start()
    done = stored.until_status(job_id, "succeeded", 60)
    assert [one["state"] for one in done["attempts"]] == ["succeeded"]
    assert fetched(done, s3).read("copy.txt") == b"tpek"


@pytest.mark.slow
async def test_a_job_goes_the_whole_way_over_b2(up, tmp_path):
    async with B2Emulator() as b2:
        up.environment |= {
            "GPULEASE_COMMANDS": str(programs(tmp_path)),
            "GPULEASE_STORAGE": "b2",
            "GPULEASE_B2_REALM": b2.url,
            "B2_KEY_ID": b2.key_id,
            "B2_APP_KEY": b2.app_key,
            "B2_BUCKET_NAME": b2.bucket,
        }

        def whole_way() -> dict:
            up.start()
            return up.until_status(copy_job(up, b"made of bytes"), "succeeded", 60)

        done = await asyncio.to_thread(whole_way)
        (file,) = done["result"]["files"]
        assert file["url"].startswith(f"{b2.url}/file/{b2.bucket}/avatar/outputs/jobs/")
        async with httpx.AsyncClient(trust_env=False) as http:
            archive = zipfile.ZipFile(io.BytesIO((await http.get(file["url"])).content))
        assert archive.read("copy.txt") == b"setyb fo edam"
        assert "s3_put" in b2.calls
        assert len(b2.files()) == 2


@pytest.mark.slow
def test_a_wrong_secret_stops_the_start(up, s3):
    keys = {"MINIO_ENDPOINT": s3.url, "MINIO_ACCESS_KEY": s3.access_key, "MINIO_SECRET_KEY": "guessed"}
    command = [sys.executable, "-m", "gpulease", "up", "--port", "0", "--data", str(up.data)]
    environment = up.environment | keys | {"GPULEASE_STORAGE": "s3"}
    done = subprocess.run(  # noqa: PLW1510  It is to fail.
        command, env=environment, cwd=up.data.parent, capture_output=True, text=True, timeout=60
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "MINIO_SECRET_KEY" in told
    assert "guessed" not in told
    assert "Traceback" not in told

"""The render farm on a bucket: its files go there and come from there, and what happens while it is away."""

import io
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from farm_world import client, settings_of

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from seaweed import Seaweed

pytestmark = pytest.mark.slow


@pytest.fixture
def s3(tmp_path):
    with Seaweed(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def settings(tmp_path, s3):
    return settings_of(
        tmp_path,
        storage="s3",
        minio_endpoint=s3.url,
        minio_bucket=s3.bucket,
        minio_access_key=s3.access_key,
        minio_secret_key=s3.secret_key,
    )


def keys(s3):
    listed = s3.client().list_objects_v2(Bucket=s3.bucket)
    return [one["Key"] for one in listed.get("Contents", ())]


async def test_a_task_lives_in_the_bucket_and_waits_for_it(world, s3):
    farm = await client(world)
    big = bytes(range(256)) * 9000
    async with httpx.AsyncClient(trust_env=False) as outside:
        farm.outside = outside
        number = await farm.done(("0001.png", b"\x89PNG"), ("film.mp4", big))
    assert len(keys(s3)) == 3
    reply = await farm.post("download", number)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "0001.png": b"\x89PNG",
            "film.mp4": big,
        }
    s3.kill()
    refused = {"DownloadProvided": await farm.post("download", number), "IsAdded": await farm.enqueue()}
    for flag, reply in refused.items():
        assert (reply.status_code, reply.json()[flag]) == (503, False)
        assert reply.headers["retry-after"]
    assert [one["Task"]["TaskId"] for one in await farm.tasks()] == [number]
    assert len(await world.orchestrator.parts.store.list_uploads(None, before=None, limit=10)) == 1
    assert (await farm.post("delete", number)).json()["IsDeleted"] is True
    s3.start()
    await world.orchestrator.parts.remover.settle()
    assert keys(s3) == []

"""Results to a real S3 server: presigned for readers, in parts when large, checked, and what the owner is told."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from seaweed import Seaweed

from b2.emulator import B2Emulator
from gpulease.contract.agent import UploadGrant
from worker_image.deliver.content import Content
from worker_image.deliver.delivery import Delivery, delivery_of
from worker_image.deliver.destination import OutOfReach
from worker_image.deliver.s3 import PART_BYTES, S3Bucket, etag_of
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.settings import BucketSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with Seaweed(tmp_path_factory.mktemp("s3")) as server:
        yield server


def bucket_of(s3: Seaweed, key: tuple[str, str] | None = None, bucket: str | None = None) -> S3Bucket:
    key = key or (s3.access_key, s3.secret_key)
    where = {"endpoint": s3.url, "public_url": s3.url, "region": "us-east-1"}
    return S3Bucket(key, bucket or s3.bucket, **where)


def made(tmp_path: Path, written: bytes) -> MadeFile:
    path = tmp_path / "made.mp4"
    path.write_bytes(written)
    return MadeFile("made.mp4", str(path), "video/mp4")


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES + 7])
async def test_sizes(s3: Seaweed, tmp_path: Path, size: int):
    content = await Content.of(made(tmp_path, os.urandom(size)))
    stored = await bucket_of(s3).store(content, f"f-{size}.mp4", None)
    async with httpx.AsyncClient() as reader:
        given = await reader.get(stored.url)
        assert (given.status_code, given.headers["content-type"]) == (200, "video/mp4")
        assert given.content == content.path.read_bytes()
        assert (await reader.get(stored.url.partition("?")[0])).status_code == 403
    head = s3.client().head_object(Bucket=s3.bucket, Key=f"f-{size}.mp4")
    assert head["ETag"].strip('"') == etag_of(content.path)
    assert head["Metadata"] == {"sha256": content.sha256}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("owner-key", "wrong"), "MINIO_SECRET_KEY"),
        (("nobody", "wrong"), "MINIO_ACCESS_KEY"),
        (("reader-key", "reader-secret-123"), "write"),
    ],
)
async def test_a_key_that_must_not_write_is_named(
    s3: Seaweed, tmp_path: Path, key: tuple[str, str], words: str
):
    content = await Content.of(made(tmp_path, b"film"))
    with pytest.raises(HostFault) as fault:
        await bucket_of(s3, key).store(content, "refused.mp4", None)
    assert not isinstance(fault.value, OutOfReach)
    assert fault.value.code == "bucket_refused"
    assert words in fault.value.message
    assert "owner-secret" not in fault.value.message


async def test_a_bucket_that_is_missing_and_a_server_in_trouble(tmp_path: Path):
    """The emulated B2 speaks S3 too, and makes no bucket by itself as SeaweedFS does."""
    content = await Content.of(made(tmp_path, b"film"))
    async with B2Emulator() as b2:

        def at(bucket: str) -> S3Bucket:
            where = {"endpoint": b2.s3_url, "public_url": b2.s3_url, "region": "us-east-1"}
            return S3Bucket((b2.key_id, b2.app_key), bucket, **where)

        with pytest.raises(HostFault, match="MINIO_BUCKET") as fault:
            await at("nowhere").store(content, "f.mp4", None)
        assert fault.value.code == "bucket_missing"
        b2.knobs.busy_uploads, b2.knobs.cut_uploads = 1, 1
        await at(b2.bucket).store(content, "f.mp4", None)
        b2.knobs.busy_uploads = 100
        with pytest.raises(OutOfReach, match="in trouble"):
            await at(b2.bucket).store(content, "g.mp4", None)
        assert b2.files() == {"f.mp4": b"film"}


async def test_a_server_that_is_down_may_come_back(tmp_path: Path):
    content = await Content.of(made(tmp_path, b"film"))
    with Seaweed(tmp_path / "s3") as s3:
        bucket = bucket_of(s3)
        s3.kill()
        with pytest.raises(OutOfReach, match="MINIO_ENDPOINT"):
            await bucket.store(content, "f.mp4", None)
        s3.start()
        assert (await bucket.store(content, "f.mp4", None)).key == "f.mp4"


async def test_a_grant_for_the_owners_bucket_is_stored_with_the_owners_key(s3: Seaweed, tmp_path: Path):
    delivery = Delivery((bucket_of(s3),))
    grant = UploadGrant(key="jobs/1/f.mp4", url=f"{s3.url}/results/x?signed", bucket=s3.bucket)
    await delivery.direct_for(grant)(made(tmp_path, b"film"))
    assert s3.client().head_object(Bucket=s3.bucket, Key="jobs/1/f.mp4")["ContentLength"] == 4
    elsewhere = grant.model_copy(update={"url": "http://other.example:9000/results/x"})
    assert delivery.direct_for(elsewhere) is None


async def test_both_buckets_are_served_if_both_are_set(s3: Seaweed):
    minio = {
        "minio_endpoint": s3.url.removeprefix("http://"),
        "minio_bucket": "results",
        "minio_access_key": "k",
        "minio_secret_key": "s",
    }
    b2 = {"b2_key_id": "k", "b2_app_key": "s", "b2_bucket_name": "b"}

    def kinds(**given: str) -> list[str]:
        return [one.kind for one in delivery_of(_settings(**given)).destinations]

    assert (kinds(), kinds(**b2), kinds(**minio), kinds(**b2, **minio)) == (
        [],
        ["b2"],
        ["minio"],
        ["b2", "minio"],
    )


def _settings(**given: str) -> BucketSettings:
    class Named(BucketSettings, populate_by_name=True):
        pass

    return Named(**given)

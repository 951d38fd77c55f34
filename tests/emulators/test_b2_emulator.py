"""The emulated B2 as its own SDK, and an S3 client, find it."""

import asyncio
import hashlib
import io
import os
import sys
from pathlib import Path

import boto3
import httpx
import pytest
from b2sdk.v3 import B2Api, InMemoryAccountInfo
from b2sdk.v3 import exception as b2_errors
from botocore.client import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).parent))

from b2.emulator import B2Emulator


@pytest.fixture
async def b2():
    async with B2Emulator() as emulator:
        yield emulator


def authorized(b2: B2Emulator, key: tuple[str, str] | None = None) -> B2Api:
    api = B2Api(InMemoryAccountInfo())
    api.authorize_account(*(key or (b2.key_id, b2.app_key)), realm=b2.url)
    return api


def s3_client(b2: B2Emulator, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=b2.s3_url,
        region_name="us-west-004",
        aws_access_key_id=b2.key_id,
        aws_secret_access_key=secret or b2.app_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
        ),
    )


async def test_a_file_goes_in_and_comes_out(b2: B2Emulator):
    def talk() -> None:
        bucket = authorized(b2).get_bucket_by_name(b2.bucket)
        content = os.urandom(100_000)
        made = bucket.upload_bytes(
            content, "a b/ü+%.mp4", content_type="video/mp4", file_info={"job": "j 1+ü"}
        )
        assert made.content_sha1 == hashlib.sha1(content).hexdigest()
        seen = bucket.get_file_info_by_name("a b/ü+%.mp4")
        assert (seen.id_, seen.size, seen.file_info) == (made.id_, 100_000, {"job": "j 1+ü"})
        taken = io.BytesIO()
        bucket.download_file_by_name("a b/ü+%.mp4").save(taken)
        assert taken.getvalue() == content
        part = io.BytesIO()
        bucket.download_file_by_id(made.id_, range_=(10, 19)).save(part)
        assert part.getvalue() == content[10:20]
        assert [file.file_name for file, _ in bucket.ls("a b", recursive=True)] == ["a b/ü+%.mp4"]
        bucket.hide_file("a b/ü+%.mp4")
        assert list(bucket.ls("a b", recursive=True)) == []
        with pytest.raises(b2_errors.FileNotPresent):
            bucket.get_file_info_by_name("a b/ü+%.mp4")
        bucket.delete_file_version(made.id_, "a b/ü+%.mp4")
        with pytest.raises(b2_errors.FileNotPresent):
            bucket.delete_file_version(made.id_, "a b/ü+%.mp4")

    await asyncio.to_thread(talk)


async def test_a_stream_has_its_digest_at_its_end(b2: B2Emulator):
    def talk() -> None:
        bucket = authorized(b2).get_bucket_by_name(b2.bucket)
        bucket.upload_unbound_stream(io.BytesIO(b"x" * 5000), "s.bin")

    await asyncio.to_thread(talk)
    assert b2.files() == {"s.bin": b"x" * 5000}


async def test_large_files_come_in_parts(b2: B2Emulator, tmp_path: Path):
    b2.knobs.part_bytes, b2.knobs.recommended_part_bytes = 1000, 2000
    content = os.urandom(7_500)
    (tmp_path / "large").write_bytes(content)

    def talk() -> None:
        api = authorized(b2)
        bucket = api.get_bucket_by_name(b2.bucket)
        made = bucket.upload_local_file(tmp_path / "large", "large", content_type="video/mp4")
        assert made.size == 7_500
        begun = api.services.large_file.start_large_file(bucket.id_, "never-ended", file_info={})
        assert [one.file_id for one in bucket.list_unfinished_large_files()] == [begun.file_id]
        api.cancel_large_file(begun.file_id)

    await asyncio.to_thread(talk)
    assert b2.files() == {"large": content}
    assert b2.calls.count("b2_upload_part") >= 3


async def test_a_busy_pod_wants_a_new_upload_url(b2: B2Emulator):
    b2.knobs.busy_uploads = 2

    def talk() -> None:
        authorized(b2).get_bucket_by_name(b2.bucket).upload_bytes(b"kept", "f")

    await asyncio.to_thread(talk)
    assert b2.files() == {"f": b"kept"}
    assert b2.calls.count("b2_upload_file") == b2.calls.count("b2_get_upload_url") == 3


async def test_a_spent_upload_url_is_refused(b2: B2Emulator):
    b2.knobs.busy_uploads = 1
    api = await asyncio.to_thread(authorized, b2)
    raw, info = api.session.raw_api, api.account_info
    bucket_id = b2.brain.bucket_name_to_bucket[b2.bucket].bucket_id

    def upload(given: dict) -> None:
        sha1 = hashlib.sha1(b"x").hexdigest()
        address = (given["uploadUrl"], given["authorizationToken"])
        raw.upload_file(*address, "f", 1, "text/plain", sha1, {}, io.BytesIO(b"x"))

    def talk() -> None:
        given = raw.get_upload_url(info.get_api_url(), info.get_account_auth_token(), bucket_id)
        with pytest.raises(b2_errors.ServiceError):
            upload(given)
        with pytest.raises(b2_errors.InvalidAuthToken):
            upload(given)

    await asyncio.to_thread(talk)


async def test_tokens_expire_and_are_renewed(b2: B2Emulator):
    api = await asyncio.to_thread(authorized, b2)
    b2.expire_tokens()

    def talk() -> None:
        api.get_bucket_by_name(b2.bucket).upload_bytes(b"later", "f")

    await asyncio.to_thread(talk)
    assert b2.calls.count("b2_authorize_account") == 2


async def test_a_limit_is_waited_out(b2: B2Emulator):
    b2.knobs.limited = 1
    api = await asyncio.to_thread(authorized, b2)
    assert api.account_info.get_api_url() == b2.url


@pytest.mark.parametrize(
    ("knob", "error"),
    [
        ("storage_full", b2_errors.StorageCapExceeded),
        ("transactions_full", b2_errors.TransactionCapExceeded),
    ],
)
async def test_caps(b2: B2Emulator, knob: str, error: type[Exception]):
    api = await asyncio.to_thread(authorized, b2)
    setattr(b2.knobs, knob, True)

    def talk() -> None:
        with pytest.raises(error):
            api.get_bucket_by_name(b2.bucket).upload_bytes(b"x", "f")

    await asyncio.to_thread(talk)


async def test_keys_do_only_what_they_may(b2: B2Emulator):
    b2.make_bucket("elsewhere")
    writes = b2.make_key(["listBuckets", "writeFiles"], b2.bucket, "avatar/")
    reads = b2.make_key(["listBuckets", "readFiles", "listFiles"], b2.bucket)
    lasting = b2.make_key(["listBuckets"], lives_s=600)
    expiring = b2.make_key(["listBuckets"], lives_s=1)

    def talk() -> None:
        bucket = authorized(b2, writes).get_bucket_by_name(b2.bucket)
        bucket.upload_bytes(b"x", "avatar/f")
        with pytest.raises(b2_errors.MaxRetriesExceeded, match="unauthorized"):
            bucket.upload_bytes(b"x", "other/f")
        with pytest.raises(b2_errors.RestrictedBucket):
            authorized(b2, writes).get_bucket_by_name("elsewhere")
        with pytest.raises(b2_errors.MaxRetriesExceeded, match="readFiles"):
            authorized(b2, reads).get_bucket_by_name(b2.bucket).upload_bytes(b"x", "avatar/g")
        with pytest.raises(b2_errors.Unauthorized):
            authorized(b2, (b2.key_id, "wrong"))
        authorized(b2, lasting)
        with pytest.raises(b2_errors.Unauthorized):
            authorized(b2, expiring)

    await asyncio.sleep(1.1)
    await asyncio.to_thread(talk)
    assert b2.files() == {"avatar/f": b"x"}


async def test_a_download_authorization_opens_its_prefix_for_its_time(b2: B2Emulator):
    def talk() -> tuple[str, str, str]:
        bucket = authorized(b2).get_bucket_by_name(b2.bucket)
        bucket.upload_bytes(b"mine", "a/f")
        bucket.upload_bytes(b"theirs", "b/f")
        lasting, brief = (bucket.get_download_authorization("a/", lives_s) for lives_s in (60, 1))
        return bucket.get_download_url("a/f"), lasting, brief

    url, token, brief = await asyncio.to_thread(talk)
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 401
        given = await client.get(url, params={"Authorization": token})
        assert (given.status_code, given.content) == (200, b"mine")
        headers = {"Authorization": token}
        assert (await client.get(url.replace("a/f", "b/f"), headers=headers)).json()["code"] == "unauthorized"
        head = await client.head(url, headers=headers)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "4", b"")
        await asyncio.sleep(1.1)
        refused = await client.get(url, headers={"Authorization": brief})
        assert refused.json()["code"] == "expired_auth_token"


async def test_presigned_urls_of_its_s3_side(b2: B2Emulator):
    client = s3_client(b2)
    where = {"Bucket": b2.bucket, "Key": "a b/ü+.mp4"}
    put = client.generate_presigned_url("put_object", Params={**where, "ContentType": "video/mp4"})
    get = client.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    brief = client.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    other = s3_client(b2, "wrong").generate_presigned_url("get_object", Params=where)
    async with httpx.AsyncClient() as http:
        assert (await http.put(put, content=b"film")).status_code == 403  # Its content type was signed.
        assert (
            await http.put(put, content=b"film", headers={"Content-Type": "video/mp4"})
        ).status_code == 200
        seen = await http.get(get, headers={"Range": "bytes=1-2"})
        assert (seen.status_code, seen.content, seen.headers["content-type"]) == (206, b"il", "video/mp4")
        assert "SignatureDoesNotMatch" in (await http.get(other)).text
        assert "SignatureDoesNotMatch" in (await http.get(get.replace(".mp4", ".mp3"))).text
        assert (await http.get(get.partition("?")[0])).status_code == 403
        await asyncio.sleep(2.1)
        assert "Request has expired" in (await http.get(brief)).text

    def talk() -> None:
        bucket = authorized(b2).get_bucket_by_name(b2.bucket)
        assert bucket.get_file_info_by_name("a b/ü+.mp4").size == 4

    await asyncio.to_thread(talk)


async def test_multipart_over_its_s3_side(b2: B2Emulator):
    b2.knobs.part_bytes = 10
    client = s3_client(b2)
    where = {"Bucket": b2.bucket, "Key": "large"}

    def talk() -> None:
        client.head_bucket(Bucket=b2.bucket)
        upload = client.create_multipart_upload(**where, ContentType="video/mp4")["UploadId"]
        parts = []
        for number, content in enumerate((b"0123456789", b"end"), 1):
            params = {**where, "PartNumber": number, "UploadId": upload}
            url = client.generate_presigned_url("upload_part", Params=params)
            etag = httpx.put(url, content=content).headers["etag"]
            parts.append({"PartNumber": number, "ETag": etag})
        wrong = [{**parts[0], "ETag": '"0"'}, parts[1]]
        with pytest.raises(ClientError, match="InvalidPart"):
            client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": wrong})
        client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        head = client.head_object(**where)
        assert (head["ContentLength"], head["ETag"][-3:]) == (13, '-2"')
        begun = [client.create_multipart_upload(Bucket=b2.bucket, Key=name)["UploadId"] for name in "abc"]
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=b2.bucket)
        assert [one["UploadId"] for page in pages for one in page.get("Uploads", ())] == begun
        with pytest.raises(ClientError, match="NoSuchUpload"):
            client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
        client.delete_object(**where)
        with pytest.raises(ClientError, match="404"):
            client.head_object(**where)

    await asyncio.to_thread(talk)
    assert b2.files() == {}


async def test_a_connection_cut_in_the_middle(b2: B2Emulator):
    b2.knobs.cut_uploads = 1

    def talk() -> None:
        authorized(b2).get_bucket_by_name(b2.bucket).upload_bytes(os.urandom(3_000_000), "f")

    await asyncio.to_thread(talk)
    assert len(b2.files()["f"]) == 3_000_000
    assert b2.calls.count("b2_get_upload_url") == 2

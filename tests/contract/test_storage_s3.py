"""What only S3 does: faults of its servers, rights of keys, addresses that differ inside and outside."""

import asyncio
import os
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from seaweed import Seaweed
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from storage_worlds import PART_BYTES, SIZES, chunks, dead_url, s3_account, s3_world

from loopback_server import LoopbackServer
from orchestrator.storage.protocol import (
    Denied,
    NoBucket,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)
from orchestrator.storage.s3 import S3Storage, origin_of
from orchestrator.storage.s3_calls import S3Account, md5_of


@pytest.fixture
async def s3(seaweed):
    async with s3_world(seaweed) as made:
        yield made


@asynccontextmanager
async def storage_at(account):
    async with aclosing(S3Storage(account, sizes=SIZES, piece_bytes=PART_BYTES)) as made:
        yield made


def error_page(status, code):
    page = f"<Error><Code>{code}</Code><Message>said by the test</Message></Error>"
    return Response(page, status, media_type="application/xml")


@asynccontextmanager
async def scripted(replies):
    """A server that gives these replies, in turn, and the last one for ever."""
    asked = []

    async def answer(request: Request) -> Response:
        await request.body()
        asked.append(request.method)
        return replies[min(len(asked), len(replies)) - 1]

    methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
    app = Starlette(routes=[Route("/{any:path}", answer, methods=methods)])
    async with aclosing(await LoopbackServer.start(app)) as server:
        url = f"http://{server.address}"
        async with storage_at(S3Account(url, url, "results", "key", "very-secret")) as storage:
            yield storage, asked


async def test_a_server_that_is_not_there_is_said_soon():
    url = dead_url()
    async with storage_at(S3Account(url, url, "results", "key", "very-secret")) as storage:
        began = time.monotonic()
        for call in (
            storage.stat("a"),
            storage.put_stream("a", chunks(b"x")),
            storage.delete(["a"]),
            storage.check(),
            storage.abort_unfinished(begun_before=0),
        ):
            with pytest.raises(StorageUnavailable, match=url) as told:
                await call
            assert "very-secret" not in str(told.value)
        assert time.monotonic() - began < 20
        assert (await storage.presign_get("a", expires_s=60)).startswith(url)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (507, "XMinioStorageFull", StorageFull),
        (403, "QuotaExceeded", StorageFull),
        (403, "AccessDenied", Denied),
        (404, "NoSuchBucket", NoBucket),
        (500, "InternalError", StorageUnavailable),
        (503, "SlowDown", StorageUnavailable),
    ],
)
async def test_what_a_server_says_is_put_into_our_words(status, code, kind):
    async with scripted([error_page(status, code)]) as (storage, _):
        with pytest.raises(kind, match=code):
            await storage.put_stream("a", chunks(b"x"))


async def test_a_page_of_a_proxy_is_no_reply_of_a_storage():
    async with scripted([Response("<html>Bad gateway</html>", 502)]) as (storage, _):
        with pytest.raises(StorageUnavailable):
            await storage.stat("a")


async def test_a_server_in_trouble_for_a_moment_is_asked_again():
    async with scripted([error_page(503, "SlowDown"), Response(headers={"ETag": '"x"'})]) as (storage, asked):
        assert (await storage.put_stream("a", chunks(b"x"))).size_bytes == 1
    assert asked == ["PUT", "PUT"]


async def test_a_part_that_cannot_be_stored_ends_the_whole():
    begun = Response(
        "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
        media_type="application/xml",
    )
    full = error_page(507, "XMinioStorageFull")
    async with scripted([begun, full, full, full, Response(status_code=204)]) as (storage, asked):
        with pytest.raises(StorageFull):
            await storage.put_stream("a", chunks(os.urandom(PART_BYTES), b"end"))
    assert (asked[0], asked[-1]) == ("POST", "DELETE")


async def test_a_deletion_that_is_refused_is_no_deletion():
    page = "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    async with scripted([Response(page, media_type="application/xml")]) as (storage, _):
        with pytest.raises(StorageUnavailable, match="AccessDenied"):
            await storage.delete(["a"])


async def test_a_bucket_that_is_missing_and_a_key_that_may_only_read_stop_the_start(seaweed):
    right = s3_account(seaweed)
    reader = replace(right, access_key=seaweed.reader_key, secret_key=seaweed.reader_secret)
    for wrong, named in (
        (replace(right, bucket="never-made"), "MINIO_BUCKET"),
        (reader, "MINIO_ACCESS_KEY"),
        (replace(right, access_key="nobody"), "nobody"),
    ):
        async with storage_at(wrong) as storage:
            with pytest.raises(StorageMisconfigured, match=named) as told:
                await storage.check()
            assert wrong.secret_key not in str(told.value)


async def test_the_secret_is_in_no_url_and_in_no_text(s3, seaweed):
    url = await s3.storage.presign_get("a", expires_s=60)
    assert seaweed.secret_key not in url
    assert seaweed.secret_key not in repr(s3_account(seaweed))


async def test_what_may_hold_a_script_is_saved_and_not_opened(s3):
    shown = {}
    for name in ("page.html", "film.mp4", "picture.svg", "unknown.xyz"):
        await s3.storage.put_stream(s3.key(name), chunks(b"<script>"))
        reply = await s3.http.get(await s3.storage.presign_get(s3.key(name), expires_s=60, filename=name))
        shown[name] = (reply.headers["content-disposition"].partition(";")[0], reply.headers["content-type"])
    assert shown == {
        "page.html": ("attachment", "text/html"),
        "film.mp4": ("inline", "video/mp4"),
        "picture.svg": ("attachment", "image/svg+xml"),
        "unknown.xyz": ("attachment", "chemical/x-xyz"),
    }


async def test_urls_hold_for_seven_days_at_most(s3):
    url = await s3.storage.presign_get(s3.key("a"), expires_s=30 * 86_400)
    assert "X-Amz-Expires=604800" in url


async def test_urls_are_signed_for_the_address_that_those_outside_see(seaweed, s3):
    port = urlsplit(seaweed.url).port
    outside = f"http://localhost:{port}"
    async with storage_at(replace(s3_account(seaweed), public_url=outside)) as storage:
        await storage.put_stream(s3.key("a.txt"), chunks(b"hello"))
        url = await storage.presign_get(s3.key("a.txt"), expires_s=60)
        put, headers = await storage.presign_put(
            s3.key("b.txt"), size_bytes=2, content_type="text/plain", expires_s=60
        )
        assert url.startswith(outside)
        assert storage.origins() == (outside,)
        assert (await s3.http.get(url)).content == b"hello"
        assert (await s3.http.get(url.replace("localhost", "127.0.0.1"))).status_code == 403
        assert (await s3.http.put(put, content=b"me", headers=headers)).is_success


async def test_unfinished_uploads_of_others_in_the_bucket_are_left_alone(seaweed, s3):
    client = seaweed.client()
    theirs = client.create_multipart_upload(Bucket=seaweed.bucket, Key="backups/big.tar")["UploadId"]
    assert await s3.storage.abort_unfinished(begun_before=2**40) == 0
    client.abort_multipart_upload(Bucket=seaweed.bucket, Key="backups/big.tar", UploadId=theirs)
    client.close()


@pytest.mark.slow
async def test_a_server_that_dies_and_comes_back_has_what_it_had(tmp_path):
    with Seaweed(tmp_path) as server:
        async with storage_at(s3_account(server)) as storage:
            await storage.put_stream("jobs/a.txt", chunks(b"kept"))
            server.kill()
            with pytest.raises(StorageUnavailable):
                await storage.stat("jobs/a.txt")
            await asyncio.to_thread(server.start)
            assert (await storage.stat("jobs/a.txt")).size_bytes == 4
            async with httpx.AsyncClient(trust_env=False) as http:
                reply = await http.get(await storage.presign_get("jobs/a.txt", expires_s=60))
            assert reply.content == b"kept"


@pytest.mark.parametrize(
    ("said", "secure", "origin"),
    [
        ("minio:9000", False, "http://minio:9000"),
        ("minio:9000", True, "https://minio:9000"),
        ("http://minio.video.svc.cluster.local:9000", True, "http://minio.video.svc.cluster.local:9000"),
        ("https://s3.example.com/", False, "https://s3.example.com"),
    ],
)
def test_an_endpoint_may_be_a_host_or_a_url(said, secure, origin):
    assert origin_of(said, secure=secure) == origin


@pytest.mark.parametrize("said", ["", "ftp://a", "http://a/path", "http://", "a b", "http://a:port"])
def test_what_is_no_endpoint_is_refused(said):
    with pytest.raises(ValueError, match="not host:port"):
        origin_of(said, secure=False)


@asynccontextmanager
async def rough_way(url, spoils):
    """A proxy to that server, on which each of `spoils` changes the body of one PUT."""
    async with httpx.AsyncClient(trust_env=False) as onward:

        async def forward(request: Request) -> Response:
            body = spoils.pop(0)(await request.body()) if request.method == "PUT" else b""
            # The host is signed; and the length is what the body has come to.
            kept = {name: value for name, value in request.headers.items() if name != "content-length"}
            reply = await onward.request(
                request.method, f"{url}{request.url.path}?{request.url.query}", headers=kept, content=body
            )
            return Response(reply.content, reply.status_code)

        app = Starlette(routes=[Route("/{any:path}", forward, methods=["GET", "PUT"])])
        async with aclosing(await LoopbackServer.start(app)) as server:
            yield f"http://{server.address}"


async def test_what_the_way_to_the_storage_spoils_is_not_kept(s3, seaweed):
    content, spoils = b"0123456789", [lambda body: b"X" + body[1:], lambda body: body[:5], lambda body: body]
    sent = {"Content-MD5": md5_of(content)}
    async with (
        rough_way(seaweed.url, spoils) as url,
        storage_at(replace(s3_account(seaweed), public_url=url)) as storage,
    ):
        put, headers = await storage.presign_put(
            s3.key("a"), size_bytes=len(content), content_type="text/plain", expires_s=60
        )
        for expected in (400, 403, 200):
            assert await storage.stat(s3.key("a")) is None
            assert (await s3.http.put(put, content=content, headers=headers | sent)).status_code == expected
        assert (await s3.http.get(await storage.presign_get(s3.key("a"), expires_s=60))).content == content

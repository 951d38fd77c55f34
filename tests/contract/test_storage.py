"""The storage contract, for every implementation, over real sockets."""

import asyncio
import base64
import contextlib
import hashlib
import os
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from storage_worlds import PART_BYTES, chunks, world_of

from orchestrator.storage.protocol import BadKey, StorageMisconfigured, StorageUnavailable, UploadGone

IN_BUCKETS = ("s3", "b2")
BAD_KEYS = (
    "../a",
    "/a",
    "a/../b",
    "a//b",
    "",
    "a\x00b",
    ".hidden",
    "a" * 600,
    "a/..",
    "ä.txt",
    "a b",
    "a?b",
    "a\n",
)


@pytest.fixture(params=["local", *IN_BUCKETS])
async def world(request, tmp_path):
    async with world_of(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture(params=IN_BUCKETS)
async def bucket_world(request, tmp_path):
    """The local storage takes any size by one PUT."""
    async with world_of(request.param, request, tmp_path) as made:
        yield made


async def put_url(world, key, content, **more):
    asked = {"size_bytes": len(content), "content_type": "text/plain", "expires_s": 60} | more
    return await world.storage.presign_put(key, **asked)


async def read(world, key):
    reply = await world.http.get(await world.storage.presign_get(key, expires_s=60))
    assert reply.status_code == 200, reply.text
    return reply.content


def md5_of(content):
    return {"Content-MD5": base64.b64encode(hashlib.md5(content).digest()).decode()}


def changed(url, **said):
    """The URL with other words in its query, or without those that are None."""
    parts = urlsplit(url)
    query = {
        name: value for name, value in (dict(parse_qsl(parts.query)) | said).items() if value is not None
    }
    return parts._replace(query=urlencode(query)).geturl()


async def test_what_is_put_can_be_read_until_it_is_deleted(world):
    key = world.key("b.txt")
    stored = await world.storage.put_stream(key, chunks(b"hel", b"lo"))
    assert (stored.key, stored.size_bytes) == (key, 5)
    assert stored.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert (await world.storage.stat(key)).size_bytes == 5
    url = await world.storage.presign_get(key, expires_s=60, filename="hello.txt")
    assert (await world.http.get(url)).content == b"hello"
    assert (await world.http.get(url, headers={"Range": "bytes=1-2"})).content == b"el"
    await world.storage.delete([key, world.key("never-was")])
    assert await world.storage.stat(key) is None
    assert (await world.http.get(url)).status_code == 404


async def test_a_file_is_replaced_and_then_wholly_gone(world):
    key = world.key("again.bin")
    for content in (b"first", b"the second", b""):
        await world.storage.put_stream(key, chunks(content))
        assert (await world.storage.stat(key)).size_bytes == len(content)
        assert await read(world, key) == content
    await world.storage.delete([key])
    assert await world.storage.stat(key) is None


@pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES + 7])
async def test_streams_of_any_length_come_out_as_they_went_in(world, size):
    content = os.urandom(size)
    parts = [content[at : at + 3_000_001] for at in range(0, size, 3_000_001)]
    stored = await world.storage.put_stream(world.key("big.bin"), chunks(*parts))
    assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await read(world, world.key("big.bin")) == content


async def test_many_are_deleted_at_once(world):
    keys = [world.key(f"{number}.txt") for number in range(12)]
    await asyncio.gather(*(world.storage.put_stream(key, chunks(b"x")) for key in keys))
    await world.storage.delete(keys)
    assert [await world.storage.stat(key) for key in keys] == [None] * 12


async def test_a_put_url_takes_what_it_says_and_no_more(world):
    key = world.key("y.bin")
    url, headers = await put_url(world, key, b"1234")
    assert (await world.http.put(url, content=b"12345", headers=headers)).status_code in (403, 413)
    assert await world.storage.stat(key) is None
    assert (await world.http.put(url, content=b"1234", headers=headers)).is_success
    assert (await world.storage.stat(key)).size_bytes == 4
    assert await read(world, key) == b"1234"


async def test_an_empty_file_can_be_put(world):
    url, headers = await put_url(world, world.key("nothing.txt"), b"")
    assert (await world.http.put(url, content=b"", headers=headers)).is_success
    assert (await world.storage.stat(world.key("nothing.txt"))).size_bytes == 0


async def test_a_body_that_was_changed_on_its_way_is_refused(world):
    key, content = world.key("z.bin"), b"the right bytes"
    url, headers = await put_url(world, key, content)
    sent = headers | md5_of(content)
    assert (await world.http.put(url, content=b"the wrong bytes", headers=sent)).status_code == 400
    assert await world.storage.stat(key) is None
    assert (await world.http.put(url, content=content, headers=sent)).is_success
    assert await read(world, key) == content


async def test_urls_hold_for_one_method_and_key(world):
    for name in ("a.txt", "b.txt"):
        await world.storage.put_stream(world.key(name), chunks(b"a"))
    url = await world.storage.presign_get(world.key("a.txt"), expires_s=60)
    put, headers = await put_url(world, world.key("c.txt"), b"z")
    # B2 takes no PUT at all where it serves downloads.
    assert (await world.http.put(url, content=b"z")).status_code in (403, 405)
    assert (await world.http.get(put)).status_code == 403
    for one, method in ((url, "GET"), (put, "PUT")):
        other = one.replace("a.txt", "b.txt").replace("c.txt", "b.txt")
        reply = await world.http.request(
            method, other, content=b"z" if method == "PUT" else None, headers=headers
        )
        assert reply.status_code in (401, 403)
    assert await read(world, world.key("b.txt")) == b"a"
    assert await world.storage.stat(world.key("c.txt")) is None


async def test_urls_cannot_be_changed_or_go_unsigned(world):
    key = world.key("a.txt")
    await world.storage.put_stream(key, chunks(b"a"))
    url = await world.storage.presign_get(key, expires_s=60)
    put, headers = await put_url(world, world.key("c.txt"), b"z")
    longer = {
        "local": {"expires": "9999999999"},
        "s3": {"X-Amz-Expires": "600000"},
        "b2": {"Authorization": "3_x"},
    }
    for forged in (changed(url, **longer[world.kind]), url.partition("?")[0]):
        assert (await world.http.get(forged)).status_code in (401, 403)
    for forged in (
        changed(put, **{"X-Amz-Expires": "600000", "expires": "9999999999"}),
        put.partition("?")[0],
    ):
        assert (await world.http.put(forged, content=b"z", headers=headers)).status_code in (401, 403)


async def test_urls_expire(world):
    key = world.key("a.txt")
    await world.storage.put_stream(key, chunks(b"a"))
    url = await world.storage.presign_get(key, expires_s=1)
    put, headers = await put_url(world, world.key("c.txt"), b"z", expires_s=1)
    await world.until_expired(2.1)
    assert (await world.http.get(url)).status_code in (401, 403)
    assert (await world.http.put(put, content=b"z", headers=headers)).status_code == 403
    assert await world.storage.stat(world.key("c.txt")) is None
    assert await read(world, key) == b"a"


async def test_a_url_signed_with_another_key_opens_nothing(world):
    if world.kind == "b2":
        with pytest.raises(StorageUnavailable):
            await world.forger.presign_put(world.key("c.txt"), size_bytes=1, content_type="a/b", expires_s=60)
        return
    await world.storage.put_stream(world.key("a.txt"), chunks(b"a"))
    url = await world.forger.presign_get(world.key("a.txt"), expires_s=60)
    assert (await world.http.get(url)).status_code == 403
    said = {"size_bytes": 1, "content_type": "text/plain", "expires_s": 60}
    put, headers = await world.forger.presign_put(world.key("c.txt"), **said)
    assert (await world.http.put(put, content=b"z", headers=headers)).status_code == 403
    assert await world.storage.stat(world.key("c.txt")) is None


async def test_no_key_leads_out_of_the_folder(world):
    for key in BAD_KEYS:
        with pytest.raises(BadKey):
            await world.storage.put_stream(key, chunks(b"x"))
        with pytest.raises(BadKey):
            await world.storage.presign_get(key, expires_s=60)
        with pytest.raises(BadKey):
            await world.storage.presign_put(key, size_bytes=1, content_type="text/plain", expires_s=60)
        assert await world.storage.stat(key) is None


async def test_a_hostile_file_name_stays_in_its_header(world):
    key = world.key("a.mp4")
    await world.storage.put_stream(key, chunks(b"film"))
    for name in ('x"; filename="evil.exe', "a\r\nSet-Cookie: a=b", "über / film.mp4", "-rf", "a" * 200):
        url = await world.storage.presign_get(key, expires_s=60, filename=name)
        reply = await world.http.get(url)
        assert (reply.status_code, reply.content) == (200, b"film")
        assert "set-cookie" not in reply.headers
        assert "filename=evil" not in reply.headers.get("content-disposition", "")


async def test_a_broken_upload_keeps_nothing(world, tmp_path):
    async def breaking(*before):
        for one in before:
            yield one
        raise ConnectionResetError

    for before in ([b"some"], [os.urandom(PART_BYTES), os.urandom(PART_BYTES), b"some"]):
        with pytest.raises(ConnectionResetError):
            await world.storage.put_stream(world.key("a.txt"), breaking(*before))
    assert await world.storage.stat(world.key("a.txt")) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert await world.storage.abort_unfinished(begun_before=2**40) == 0


async def test_an_upload_whose_caller_gave_up_leaves_nothing_begun(world):
    sent = asyncio.Event()

    async def stalling():
        yield os.urandom(PART_BYTES)
        yield os.urandom(PART_BYTES)
        sent.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(world.storage.put_stream(world.key("a.bin"), stalling()))
    await sent.wait()
    putting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await putting
    assert await world.storage.stat(world.key("a.bin")) is None
    assert await world.storage.abort_unfinished(begun_before=2**40) == 0


async def test_the_settings_are_checked_before_anything_is_stored(world):
    await world.storage.check()
    if world.kind in IN_BUCKETS:
        with pytest.raises(StorageMisconfigured) as told:
            await world.forger.check()
        assert "guessed" not in str(told.value)


async def test_where_urls_lead_is_said(world):
    await world.storage.check()
    (origin,) = world.storage.origins()
    url = await world.storage.presign_get(world.key("a"), expires_s=60)
    assert url.startswith(f"{origin}/")


# Large files, in parts


async def begin(world, name, content):
    said = {"size_bytes": len(content), "content_type": "video/mp4", "expires_s": 60}
    return await world.storage.start_parts(world.key(name), **said)


async def put_parts(world, parted, content):
    """The last one first."""
    etags = {}
    for number in reversed(range(len(parted.urls))):
        part = content[number * parted.part_bytes :][: parted.part_bytes]
        reply = await world.http.put(parted.urls[number], content=part, headers=md5_of(part))
        assert reply.is_success, reply.text
        etags[number] = reply.headers["etag"]
    return [etags[number] for number in sorted(etags)]


async def test_small_files_are_not_put_in_parts(world):
    assert await begin(world, "small.mp4", b"1234") is None


async def test_a_large_file_comes_in_parts_and_is_one(world):
    content = os.urandom(2 * PART_BYTES + 9)
    parted = await begin(world, "film.mp4", content)
    assert (len(parted.urls), parted.part_bytes) == (3, PART_BYTES)
    etags = await put_parts(world, parted, content)
    assert await world.storage.stat(world.key("film.mp4")) is None
    for _ in range(2):  # The reply to the first may be lost.
        await world.storage.complete_parts(world.key("film.mp4"), parted.upload_id, etags)
    assert (await world.storage.stat(world.key("film.mp4"))).size_bytes == len(content)
    assert await read(world, world.key("film.mp4")) == content
    assert await world.storage.abort_unfinished(begun_before=2**40) == 0


async def test_a_part_is_of_its_size_and_as_it_was_sent(world):
    content = os.urandom(PART_BYTES + 5)
    parted = await begin(world, "film.mp4", content)
    last = parted.urls[1]
    assert (await world.http.put(last, content=b"123456")).status_code in (403, 413)
    assert (await world.http.put(last, content=b"12345", headers=md5_of(b"12346"))).status_code == 400
    first = parted.urls[0].replace("partNumber=1", "partNumber=2").replace("/00001?", "/00002?")
    assert (await world.http.put(first, content=content[:PART_BYTES])).status_code == 403
    etags = await put_parts(world, parted, content)
    await world.storage.complete_parts(world.key("film.mp4"), parted.upload_id, etags)
    assert await read(world, world.key("film.mp4")) == content


async def test_an_upload_that_was_broken_off_goes_on_where_it_was(world):
    content = os.urandom(2 * PART_BYTES + 9)
    key, said = world.key("film.mp4"), {"size_bytes": len(content), "expires_s": 60}
    begun = await begin(world, "film.mp4", content)
    second = content[PART_BYTES : 2 * PART_BYTES]
    came = await world.http.put(begun.urls[1], content=second, headers=md5_of(second))
    again = await world.storage.resume_parts(key, begun.upload_id, **said)
    assert (again.etags, again.part_bytes) == ((None, came.headers["etag"], None), PART_BYTES)
    for number in (0, 2):
        part = content[number * PART_BYTES :][:PART_BYTES]
        assert (await world.http.put(again.urls[number], content=part)).is_success
    whole = await world.storage.resume_parts(key, begun.upload_id, **said)
    await world.storage.complete_parts(key, begun.upload_id, [etag for etag in whole.etags if etag])
    assert await read(world, key) == content
    with pytest.raises(UploadGone):
        await world.storage.resume_parts(key, begun.upload_id, **said)


async def test_without_all_its_parts_there_is_no_file(world):
    content = os.urandom(PART_BYTES + 5)
    parted = await begin(world, "film.mp4", content)
    etags = await put_parts(world, parted, content)
    for wrong in ([etags[0], '"00000000000000000000000000000000"'], [etags[1], etags[0]]):
        with pytest.raises(UploadGone):
            await world.storage.complete_parts(world.key("film.mp4"), parted.upload_id, wrong)
    assert await world.storage.stat(world.key("film.mp4")) is None


async def test_what_was_begun_and_never_ended_is_given_up(world):
    content = os.urandom(PART_BYTES + 5)
    begun = [await begin(world, f"{number}.mp4", content) for number in range(5)]
    assert await world.storage.abort_unfinished(begun_before=1_000_000_000) == 0
    etags = await put_parts(world, begun[0], content)
    assert await world.storage.abort_unfinished(begun_before=2**40) == 5
    assert (await world.http.put(begun[0].urls[1], content=content[-5:])).status_code == 404
    with pytest.raises(UploadGone):
        await world.storage.complete_parts(world.key("0.mp4"), begun[0].upload_id, etags)
    assert await world.storage.stat(world.key("0.mp4")) is None


async def test_a_new_upload_to_a_key_ends_the_unfinished_one(world):
    content = os.urandom(PART_BYTES + 5)
    first = await begin(world, "film.mp4", content)
    beside = await begin(world, "film.mp4.json", content)
    second = await begin(world, "film.mp4", content)
    assert (await world.http.put(first.urls[1], content=content[-5:])).status_code == 404
    for parted, name in ((second, "film.mp4"), (beside, "film.mp4.json")):
        etags = await put_parts(world, parted, content)
        await world.storage.complete_parts(world.key(name), parted.upload_id, etags)


async def test_an_upload_id_is_good_for_its_key_only(world):
    content = os.urandom(PART_BYTES + 5)
    parted = await begin(world, "mine.mp4", content)
    etags = await put_parts(world, parted, content)
    with pytest.raises(UploadGone):
        await world.storage.complete_parts(world.key("theirs.mp4"), parted.upload_id, etags)
    assert await world.storage.stat(world.key("theirs.mp4")) is None

"""Downloads from servers that lie, dawdle, lead astray or bury us, over real sockets."""

import asyncio
import gzip
import hashlib
import socket
import time

import pytest
from rough_web import drip, rough_web, said

from worker_image.faults import Faulted, HostFault, InputFault
from worker_image.media.fetch import Fetcher
from worker_image.media.receive import Limits, shown

BODY = bytes(range(256)) * 40
QUICK = Limits(bytes_max=1024**2, head_s=0.5, silence_s=0.5, window_s=0.4, bytes_per_s_min=1024)
NOBODY = "192.88.99.1"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def fetch(url, path, limits=QUICK, allow_hosts=("127.0.0.1",)):
    fetcher = Fetcher(allow_hosts=allow_hosts, limits=limits)
    try:
        return await fetcher.fetch(url, path)
    finally:
        await fetcher.aclose()


async def refused(url, path, code, words, **options):
    """The fault, after looking that the download left no file."""
    with pytest.raises(Faulted) as caught:
        await fetch(url, path, **options)
    assert caught.value.code == code
    assert words in caught.value.message
    assert not path.exists()
    return caught.value


async def test_what_was_sent_is_in_the_file_and_nothing_of_the_url_is_in_its_name(scratch):
    async with rough_web(said(BODY)) as (url, web):
        path = scratch / "input-0"
        got = await fetch(f"{url}/..%2f..%2fetc/-rf%22%0a;x.mp4?file=/etc/passwd", path)
        assert (got.size_bytes, got.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
        assert path.read_bytes() == BODY
        assert [one.name for one in scratch.iterdir()] == ["input-0"]
        assert "Accept-Encoding: identity" in web.heads[0]


async def test_a_length_of_ten_gigabytes_is_refused_before_a_byte_of_it(scratch):
    async with rough_web(drip(said(b"", length=10 * 1024**3))) as (url, web):
        started = time.monotonic()
        await refused(url, scratch / "a", "input_too_big", "1048576 bytes")
        assert time.monotonic() - started < 20
        assert len(web.seen) == 1


async def test_more_than_allowed_without_a_length_is_cut_at_the_bound(scratch):
    flood = drip(CHUNKED, 0, b"10000\r\n" + bytes(0x10000) + b"\r\n")
    async with rough_web(flood) as (url, web):
        await refused(url, scratch / "a", "input_too_big", "1048576 bytes")
        assert len(web.seen) == 1


async def test_a_server_that_drips_is_given_up(scratch):
    async with rough_web(drip(said(b"", length=100_000))) as (url, web):
        started = time.monotonic()
        await refused(url, scratch / "a", "input_unreachable", "slower than 1024 bytes/s")
        assert time.monotonic() - started < 20
        assert len(web.seen) == 1


async def test_a_head_that_drips_is_given_up(scratch):
    async with rough_web(drip(b"HTTP/1.1 200 OK\r\nX: ")) as (url, _):
        started = time.monotonic()
        await refused(url, scratch / "a", "input_unreachable", "took too long")
        assert time.monotonic() - started < 20


async def test_a_steady_download_ends_at_the_time_allowed_for_all_of_it(scratch):
    steady = drip(said(b"", length=900_000), 0.05, bytes(2000))
    async with rough_web(steady) as (url, _):
        limits = Limits(total_s=1.0, window_s=0.4)
        started = time.monotonic()
        await refused(url, scratch / "a", "input_unreachable", "took too long", limits=limits)
        assert 0.9 < time.monotonic() - started < 10


async def test_slow_but_above_the_least_pace_is_fine(scratch):
    async def slowly(writer):
        writer.write(said(b"", length=len(BODY)))
        for at in range(0, len(BODY), 1024):
            writer.write(BODY[at : at + 1024])
            await writer.drain()
            await asyncio.sleep(0.1)

    async with rough_web(slowly) as (url, _):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)


@pytest.mark.parametrize(
    "inside",
    [
        *("http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://0x7f.1/"),
        *("file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "http://localhost/"),
    ],
)
async def test_a_redirect_to_the_inside_is_refused_at_once(scratch, inside):
    async with rough_web(said(b"", f"Location: {inside}", status="302 Found")) as (url, web):
        await refused(url, scratch / "a", "input_forbidden", "may not be fetched")
        assert len(web.seen) == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://127.0.0.1/_x", "ftp://8.8.8.8/x", "http://169.254.169.254/", "words"],
)
async def test_urls_to_the_inside_are_refused_at_once(scratch, url):
    await refused(url, scratch / "a", "input_forbidden", "may not be fetched", allow_hosts=())


async def test_a_redirect_is_followed_without_what_comes_with_it(scratch):
    """The page of a redirect has no bound, and so nobody reads it."""
    endless = drip(
        CHUNKED.replace(b"200 OK", b"302 Found\r\nLocation: /next"),
        0,
        b"10000\r\n" + bytes(0x10000) + b"\r\n",
    )
    async with rough_web(endless, said(BODY)) as (url, web):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)
        assert web.seen == ["GET / HTTP/1.1", "GET /next HTTP/1.1"]


async def test_redirects_end(scratch):
    async with rough_web(said(b"", "Location: /", status="302 Found")) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", "more than 5 times")
        assert len(web.seen) == 6


async def test_a_name_that_turns_private_after_the_check_wins_nothing(scratch, trap, monkeypatch):
    """The first answer alone is public. Whoever asked again, and went there, would call the trap."""
    asked = []

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        address = "127.0.0.1" if len(asked) % 2 == 0 else NOBODY
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(InputFault):
        await fetch(f"http://rebound.test:{trap.port}/", scratch / "a", allow_hosts=())
    assert asked
    assert not trap.called()


async def test_a_short_reply_is_asked_for_again(scratch):
    async with rough_web(said(BODY[:100], length=len(BODY)), said(BODY)) as (url, web):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)
        assert (scratch / "a").read_bytes() == BODY
        assert len(web.seen) == 2


async def test_a_reply_that_stays_short_fails_after_three(scratch):
    async with rough_web(said(BODY[:100], length=len(BODY))) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", "broke off")
        assert len(web.seen) == 3


async def test_what_is_sent_beyond_the_length_is_neither_kept_nor_taken_for_the_next_reply(scratch):
    async with rough_web(said(BODY + said(b"poison"), length=len(BODY)), said(b"clean")) as (url, _):
        fetcher = Fetcher(allow_hosts=("127.0.0.1",), limits=QUICK)
        assert (await fetcher.fetch(url, scratch / "a")).size_bytes == len(BODY)
        await fetcher.fetch(url, scratch / "b")
        await fetcher.aclose()
    assert (scratch / "a").read_bytes() == BODY
    assert (scratch / "b").read_bytes() == b"clean"


async def test_an_encoding_nobody_asked_for_is_undone(scratch):
    async with rough_web(said(gzip.compress(BODY), "Content-Encoding: gzip")) as (url, _):
        assert (await fetch(url, scratch / "a")).sha256 == hashlib.sha256(BODY).hexdigest()


async def test_a_bomb_in_an_encoding_meets_the_bound(scratch):
    bomb = gzip.compress(bytes(200 * 1024**2), 1)
    assert len(bomb) < QUICK.bytes_max
    async with rough_web(said(bomb, "Content-Encoding: gzip")) as (url, web):
        await refused(url, scratch / "a", "input_too_big", "1048576 bytes")
        assert len(web.seen) == 1


@pytest.mark.parametrize("status", ["500 Oh", "503 Busy", "429 Slow", "408 Late"])
async def test_a_passing_refusal_is_tried_again(scratch, status):
    async with rough_web(said(b"no", status=status), said(BODY)) as (url, _):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)


@pytest.mark.parametrize("status", ["404 Gone", "403 No", "204 Empty", "206 Part"])
async def test_a_lasting_refusal_is_final(scratch, status):
    async with rough_web(said(b"", status=status)) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", f"answered {status[:3]}")
        assert len(web.seen) == 1


async def test_an_input_that_the_disk_has_no_room_for_is_this_machines_fault(scratch):
    async with rough_web(drip(said(b"", length=2**55))) as (url, _):
        fault = await refused(url, scratch / "a", "disk_full", "disk left", limits=Limits(bytes_max=2**60))
        assert isinstance(fault, HostFault)


async def test_a_cancelled_download_leaves_no_file(scratch):
    async with rough_web(drip(said(b"", length=900_000), 0.01, bytes(500))) as (url, _):
        task = asyncio.create_task(fetch(url, scratch / "a"))
        while not (scratch / "a").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not list(scratch.iterdir())


def test_a_shown_url_keeps_its_secrets():
    assert shown("https://me:word@host/a/b?X-Amz-Signature=s#f") == "https://host/a/b"
    assert "word" not in shown("https://me:word@[broken/a?s")

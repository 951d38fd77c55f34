"""Servers that break HTTP: curl fetches what can be fetched, under the same bounds and to the same addresses."""

import asyncio
import hashlib
import shutil
import socket

import pytest
from rough_web import drip, rough_web, said
from test_fetching import BODY, CHUNKED, NOBODY, QUICK, fetch, refused

from worker_image.media.curl import Reach, fetch_by_curl
from worker_image.media.receive import Limits, Transient

BROKEN = "Bad Header : a blank before the colon"
CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.mark.parametrize(
    "reply",
    [
        said(BODY, BROKEN),
        said(BODY, "Content-Encoding: gzip"),
        said(BODY, "Content-Encoding: br"),
        CHUNKED.replace(b"\r\n\r\n", f"\r\nContent-Length: 7\r\n{BROKEN}\r\n\r\n".encode())
        + f"{len(BODY):x}\r\n".encode()
        + BODY
        + b"\r\n0\r\n\r\n",
    ],
    ids=["header", "gzip", "brotli", "length-and-chunked"],
)
async def test_a_reply_that_breaks_the_protocol_is_fetched_all_the_same(scratch, reply):
    async with rough_web(reply) as (url, web):
        got = await fetch(f"{url}/film?x=1&y=[2]", scratch / "a")
        assert got.sha256 == hashlib.sha256(BODY).hexdigest()
        assert "curl" not in web.heads[1]  # It comes as us.
        assert web.seen == ["GET /film?x=1&y=[2] HTTP/1.1"] * 2


async def test_both_a_length_and_chunks_are_fetched(scratch):
    body = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    async with rough_web(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n") + body) as (url, _):
        assert (await fetch(url, scratch / "a")).sha256 == hashlib.sha256(BODY).hexdigest()


async def test_without_curl_the_fault_is_told(scratch, monkeypatch):
    monkeypatch.setenv("PATH", str(scratch))
    async with rough_web(said(BODY, BROKEN)) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", "illegal header line")
        assert len(web.seen) == 3


@pytest.mark.parametrize(
    "inside",
    ["http://169.254.169.254/latest", "file:///etc/passwd", "gopher://127.0.0.1/_x", "http://localhost/"],
)
async def test_its_redirects_are_checked_like_ours(scratch, inside):
    async with rough_web(said(b"", BROKEN, f"Location: {inside}", status="302 Found")) as (url, web):
        await refused(url, scratch / "a", "input_forbidden", "may not be fetched")
        assert len(web.seen) == 2


async def test_its_redirects_are_followed_and_end(scratch):
    there = said(b"", BROKEN, "Location: /next", status="302 Found")
    async with rough_web(there, there, said(BODY, BROKEN)) as (url, web):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)
        assert web.seen[-1] == "GET /next HTTP/1.1"
    async with rough_web(there) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", "more than 5 times")
        assert len(web.seen) == 7


async def test_a_private_address_is_refused_whoever_would_go_there(scratch, trap):
    await refused(f"http://{trap.address}/", scratch / "a", "input_forbidden", "private", allow_hosts=())


async def test_a_name_that_turns_private_after_the_check_wins_nothing(scratch, trap, monkeypatch):
    """The address is told to it; asking the name again, of anybody, would lead to the trap."""
    asked = []

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if asked[1:] else NOBODY, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Transient):
        await fetch_by_curl(CURL, f"http://localhost:{trap.port}/", scratch / "a", Reach(), QUICK)
    assert asked == ["localhost"]
    assert not trap.called()


async def test_a_length_of_ten_gigabytes_is_refused(scratch):
    async with rough_web(drip(said(b"", BROKEN, length=10 * 1024**3))) as (url, _):
        await refused(url, scratch / "a", "input_too_big", "1048576 bytes")


async def test_more_than_allowed_is_cut_at_the_bound(scratch):
    head = CHUNKED.replace(b"\r\n\r\n", f"\r\n{BROKEN}\r\n\r\n".encode())
    async with rough_web(drip(head, 0, b"10000\r\n" + bytes(0x10000) + b"\r\n")) as (url, _):
        await refused(url, scratch / "a", "input_too_big", "1048576 bytes")


async def test_a_server_that_drips_is_given_up(scratch):
    async with rough_web(drip(said(b"", BROKEN, length=100_000))) as (url, _):
        await refused(url, scratch / "a", "input_unreachable", "slower than")


async def test_a_short_reply_is_asked_for_again(scratch):
    short = said(BODY[:99], BROKEN, length=len(BODY))
    async with rough_web(short, short, said(BODY)) as (url, web):
        assert (await fetch(url, scratch / "a")).sha256 == hashlib.sha256(BODY).hexdigest()
        assert len(web.seen) == 3


async def test_a_lasting_refusal_is_final(scratch):
    async with rough_web(said(b"", BROKEN, status="404 Gone")) as (url, web):
        await refused(url, scratch / "a", "input_unreachable", "answered 404")
        assert len(web.seen) == 2


async def test_neither_a_users_file_nor_the_environment_tells_curl_anything(scratch, trap, monkeypatch):
    (scratch / ".curlrc").write_text(f"proxy = http://{trap.address}\noutput = {scratch}/elsewhere\n")
    for name in ("HOME", "CURL_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(scratch))
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{trap.address}")
    async with rough_web(said(BODY, BROKEN)) as (url, _):
        assert (await fetch(url, scratch / "a")).size_bytes == len(BODY)
    assert not (scratch / "elsewhere").exists()


async def test_a_cancelled_download_ends_curl(scratch):
    steady = drip(said(b"", BROKEN, length=900_000), 0.01, bytes(500))
    async with rough_web(steady) as (url, web):
        task = asyncio.create_task(fetch(url, scratch / "a", limits=Limits()))
        while len(web.seen) < 2 or not (scratch / "a").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not list(scratch.iterdir())

"""The guard against real sockets: exempt ones are reached, private ones are not, at any hop."""

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from gpulease.guard import REDIRECTS_MAX, ForbiddenAddress, check_url, guarded_client, is_public

NOBODY = "192.88.99.1"
"""A public address that no packet reaches any more (RFC 7526)."""


@asynccontextmanager
async def served():
    """Two origins on one host: /ok answers, /to redirects where it is told, /loop to itself."""
    app = FastAPI()
    app.get("/ok")(lambda: "ok")
    app.get("/to")(lambda url: RedirectResponse(url))  # noqa: PLW0108  # Only `url` is a query field.
    app.get("/loop")(lambda: RedirectResponse("/loop"))
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    running = asyncio.create_task(server.serve(sockets=socks))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in socks]
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def origins():
    async with served() as both:
        yield both


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1"),
        *("ff02::1", "2001:db8::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
    ],
)
def test_private_addresses_in_all_their_forms(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost/", "http://LocalHost:81/", "http://2130706433/"),
        *("http://127.1/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/"),
        *("https://169.254.169.254/latest", "ftp://8.8.8.8/", "file:///etc/passwd", "http:///x", "words"),
    ],
)
async def test_what_leads_inside_is_refused_at_submit_and_at_fetch(url):
    with pytest.raises(ForbiddenAddress):
        await check_url(url)
    async with guarded_client() as http:
        with pytest.raises(ForbiddenAddress):
            await http.get(url)


@pytest.mark.parametrize("url", ["http://nobody.invalid/", f"http://{'a' * 70}.invalid/"])
async def test_a_name_that_does_not_resolve_passes_at_submit_and_fails_at_fetch(url):
    await check_url(url)
    async with guarded_client() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


async def test_an_exempt_host_is_as_written_whatever_its_case(origins):
    port = origins[0].rsplit(":", 1)[1]
    async with guarded_client(allow_hosts=["LOCALHOST"]) as http:
        assert (await http.get(f"http://localhost:{port}/ok")).status_code == 200
        with pytest.raises(ForbiddenAddress):
            await http.get(f"http://127.0.0.1:{port}/ok")
    await check_url("http://[::1]/", allow_hosts=["[::1]"])


async def test_an_exempt_origin_is_exact(origins):
    ours, other = origins
    async with guarded_client(allow_origins=[ours]) as http:
        assert (await http.get(f"{ours}/ok")).status_code == 200
        for url in (f"{other}/ok", f"{ours}/ok".replace("http", "https", 1)):
            with pytest.raises(ForbiddenAddress):
                await http.get(url)
            with pytest.raises(ForbiddenAddress):
                await check_url(url, allow_origins=[ours])


async def test_a_redirect_takes_no_exemption_along(origins):
    ours, other = origins
    async with guarded_client(allow_origins=[ours]) as http:
        assert (await http.get(f"{ours}/to", params={"url": f"{ours}/ok"})).json() == "ok"
        for inside in (f"{other}/ok", "http://169.254.169.254/", "file:///etc/passwd"):
            with pytest.raises((ForbiddenAddress, httpx.UnsupportedProtocol)):
                await http.get(f"{ours}/to", params={"url": inside})


async def test_redirects_have_a_bound(origins):
    async with guarded_client(allow_origins=origins[:1]) as http:
        with pytest.raises(httpx.TooManyRedirects):
            await http.get(f"{origins[0]}/loop")
        assert http.max_redirects == REDIRECTS_MAX


async def test_one_private_address_among_public_ones_forbids_the_name(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolver([[NOBODY, "10.0.0.1"]], asked=[]))
    with pytest.raises(ForbiddenAddress):
        await check_url("http://mixed.test/")


async def test_a_name_that_turns_private_after_the_check_wins_nothing(origins, monkeypatch):
    """Only the first answer is public. Nothing asks for a second, so our receiver is never reached."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", resolver([[NOBODY], ["127.0.0.1"]], asked))
    port = origins[0].rsplit(":", 1)[1]
    async with guarded_client(timeout_s=0.2) as http:
        with contextlib.suppress(httpx.TransportError):
            reply = await http.get(f"http://rebound.test:{port}/ok")
            assert reply.text != '"ok"'
    assert asked == ["rebound.test"]


async def test_proxies_of_the_environment_are_ignored(origins, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with guarded_client(allow_hosts=["127.0.0.1"]) as http:
        assert (await http.get(f"{origins[0]}/ok")).status_code == 200


def resolver(answers, asked):
    """A name server in place of the system's: its first answer, its second, and so on; the last one stays."""

    def getaddrinfo(host, port, *_, **__):
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo

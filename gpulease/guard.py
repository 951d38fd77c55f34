"""The one HTTP client that fetches what clients name: public addresses only, pinned, at every redirect.

A name is resolved once, all its addresses must be public, and the connection goes to one of those very addresses, so
that a name that resolves differently the second time wins nothing. TLS still checks the host's name.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Self

import httpcore
import httpx

REDIRECTS_MAX = 5
RESOLVE_S_MAX = 5.0
ADDRESSES_MAX = 4
CONNECTIONS_MAX = 100
KEEPALIVE_S = 5.0
_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")

Address = IPv4Address | IPv6Address
Origin = tuple[str, str, int]


class ForbiddenAddress(Exception):
    """The URL leads where clients must not send us: a private address, or no http(s) host at all."""


def guarded_client(
    *,
    allow_hosts: Collection[str] = (),
    allow_origins: Collection[str] = (),
    timeout_s: float = 30.0,
    follow_redirects: bool = True,
) -> httpx.AsyncClient:
    """Returns a client that raises `ForbiddenAddress` instead of connecting to a private address.

    `allow_hosts` are exempt as written, `allow_origins` by exact scheme, host and port. Proxies and other hints of the
    environment are ignored, since a proxy would resolve names out of our sight. The caller bounds sizes.
    """
    return httpx.AsyncClient(
        transport=_GuardedTransport(_Exempt.of(allow_hosts, allow_origins)),
        timeout=timeout_s,
        follow_redirects=follow_redirects,
        max_redirects=REDIRECTS_MAX,
        trust_env=False,
        headers={"User-Agent": "gpulease"},
    )


async def check_url(
    url: str, *, allow_hosts: Collection[str] = (), allow_origins: Collection[str] = ()
) -> None:
    """Says early what a fetch would refuse. A name that does not resolve now passes, and fails at its fetch.

    Raises:
        ForbiddenAddress: it is no http(s) URL with a host, or its host is, or resolves to, a private address.
    """
    origin = _origin(url)
    if _Exempt.of(allow_hosts, allow_origins).covers(origin):
        return
    try:
        async with asyncio.timeout(RESOLVE_S_MAX):
            await _public_addresses(origin[1], origin[2])
    except (OSError, UnicodeError):  # A TimeoutError is an OSError.
        return


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL as we read it, and the addresses to try, in order: all that a program of somebody else's may connect to."""

    url: str
    port: int
    addresses: tuple[str, ...]


async def pin_url(
    url: str, *, allow_hosts: Collection[str] = (), allow_origins: Collection[str] = ()
) -> Pinned:
    """Checks and resolves once, for a program that then connects to these addresses and no others.

    Raises:
        ForbiddenAddress: as `check_url`.
        OSError: it does not resolve, or not in time.
    """
    origin = _origin(url)
    exempt = _Exempt.of(allow_hosts, allow_origins).covers(origin)
    async with asyncio.timeout(RESOLVE_S_MAX):
        found = await (_addresses if exempt else _public_addresses)(origin[1], origin[2])
    return Pinned(str(httpx.URL(url)), origin[2], tuple(str(address) for address in found[:ADDRESSES_MAX]))


@dataclass(frozen=True, slots=True)
class _Exempt:
    """What an operator, or we ourselves, vouch for."""

    hosts: frozenset[str]
    origins: frozenset[Origin]

    @classmethod
    def of(cls, hosts: Collection[str], origins: Collection[str]) -> Self:
        names = frozenset(host.strip("[]").lower() for host in hosts)
        return cls(names, frozenset(_origin(origin) for origin in origins))

    def covers(self, origin: Origin) -> bool:
        return origin[1] in self.hosts or origin in self.origins


def _origin(url: str | httpx.URL) -> Origin:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ForbiddenAddress(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.host:
        raise ForbiddenAddress(f"{str(parts)!r} is not an http:// or https:// URL with a host")
    host = parts.raw_host.decode("ascii").strip("[]").lower()
    return parts.scheme, host, parts.port or _PORTS[parts.scheme]


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The usual authorities. Reading them takes 25 ms, and so a process does it once."""
    return httpx.create_ssl_context(trust_env=False)


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Sends each hop through the pool that its origin deserves, so that no exemption outlives a redirect."""

    def __init__(self, exempt: _Exempt) -> None:
        self._exempt = exempt
        context = _trusted()
        self._free = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
        self._public = _PinnedTransport(verify=context, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exempt = self._exempt.covers(_origin(request.url))
        return await (self._free if exempt else self._public).handle_async_request(request)

    async def aclose(self) -> None:
        await self._free.aclose()
        await self._public.aclose()


class _PinnedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool that connects through `_PublicBackend`, which httpx has no option for."""

    def __init__(self, *, verify: ssl.SSLContext, trust_env: bool) -> None:
        super().__init__(verify=verify, trust_env=trust_env)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify,
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=CONNECTIONS_MAX,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=_PublicBackend(),
        )


class _PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects over TCP only; its base refuses unix sockets."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # The base class names it.
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _resolve_for_fetch(host, port)
        share_s = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, share_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


async def _resolve_for_fetch(host: str, port: int) -> list[Address]:
    try:
        async with asyncio.timeout(RESOLVE_S_MAX):
            return await _public_addresses(host, port)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host} took too long to resolve") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} does not resolve: {error}") from error


async def _public_addresses(host: str, port: int) -> list[Address]:
    """The host's addresses, in the order to try them. One private address among them forbids all."""
    addresses = await _addresses(host, port)
    for address in addresses:
        if not is_public(address):
            raise ForbiddenAddress(f"{host} is the private address {address}")
    return addresses[:ADDRESSES_MAX]


async def _addresses(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(row[4][0]) for row in found))


def is_public(address: Address) -> bool:
    """Whether anybody's packets get there; an IPv4 address inside an IPv6 one is judged as itself."""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour

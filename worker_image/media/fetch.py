"""Downloads of what jobs name: public addresses only, streamed to a file, bounded in size, time and pace."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from gpulease.guard import REDIRECTS_MAX, ForbiddenAddress, guarded_client
from worker_image.faults import InputFault
from worker_image.media.curl import Reach, curl_program, fetch_by_curl
from worker_image.media.receive import (
    Fetched,
    Limits,
    ProtocolFault,
    Transient,
    check_room,
    check_size,
    check_status,
    decoded,
    save,
    shown,
)

TRIES = 3
# One request a connection: what a server sends beyond its Content-Length is never read as a reply to the next.
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}
_FINAL = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Fetcher:
    """`allow_origins` are ours (signed URLs); `allow_hosts` are the operator's word."""

    def __init__(
        self,
        *,
        allow_hosts: Collection[str] = (),
        allow_origins: Collection[str] = (),
        bytes_max: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        asked = limits or Limits()
        self._limits = replace(asked, bytes_max=bytes_max) if bytes_max is not None else asked
        self._reach = Reach(allow_hosts, allow_origins)
        self._client = guarded_client(
            allow_hosts=allow_hosts,
            allow_origins=allow_origins,
            timeout_s=self._limits.silence_s,
            follow_redirects=False,
        )

    def also(self, origin: str) -> "Fetcher":
        """Another one like this, for which that origin is ours too."""
        origins = (*self._reach.origins, origin)
        return Fetcher(allow_hosts=self._reach.hosts, allow_origins=origins, limits=self._limits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def fetch(self, url: str, path: Path) -> Fetched:
        """Streams the URL into `path`, whose name owes nothing to the URL. A failed one leaves no file.

        Raises:
            InputFault: the address is forbidden, the server refuses, it is too big or slow, or three tries failed.
            HostFault: the disk has no room for it.
        """
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await self._tries(url, path)
        except BaseException as error:
            path.unlink(missing_ok=True)  # noqa: ASYNC240  A file of ours on the local disk.
            fault = _fault_of(error, url)
            if fault is None:
                raise
            raise fault from error

    async def _tries(self, url: str, path: Path) -> Fetched:
        tries = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=5),
            retry=retry_if_exception(_is_transient),
            reraise=True,
        )
        return await tries(self._once, url, path)

    async def _once(self, url: str, path: Path) -> Fetched:
        try:
            return await self._by_httpx(url, path)
        except (httpx.RemoteProtocolError, ProtocolFault):
            program = curl_program()
            if program is None:
                raise
            return await fetch_by_curl(program, url, path, self._reach, self._limits)

    async def _by_httpx(self, url: str, path: Path) -> Fetched:
        async with asyncio.timeout(self._limits.head_s):
            reply = await self._reply(url)
        try:
            check_status(reply.status_code, url)
            declared = int(reply.headers.get("content-length") or 0)
            check_size(declared, url, self._limits)
            check_room(declared, path)
            encoding = reply.headers.get("content-encoding", "").strip().lower()
            return await save(decoded(_body(reply), encoding), path, url, self._limits)
        finally:
            await reply.aclose()

    async def _reply(self, url: str) -> httpx.Response:
        """Follows redirects without reading what comes with them, which has no bound."""
        request = self._client.build_request("GET", url, headers=_HEADERS)
        for _ in range(REDIRECTS_MAX + 1):
            reply = await self._client.send(request, stream=True)
            if reply.next_request is None:
                return reply
            await reply.aclose()
            request = reply.next_request
        raise InputFault("input_unreachable", f"{shown(url)} redirects more than {REDIRECTS_MAX} times")


async def _body(reply: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes. One that ends before its Content-Length is worth another try, and no other program."""
    try:
        async for chunk in reply.aiter_raw():
            yield chunk
    except httpx.RemoteProtocolError as error:
        raise Transient(f"the content broke off: {error}") from error


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, (Transient, ProtocolFault, httpx.TransportError)) and not isinstance(
        error, _FINAL
    )


def _fault_of(error: BaseException, url: str) -> InputFault | None:
    """What the job is told; None for what is no fault of the address."""
    why = str(error) or type(error).__name__
    if isinstance(error, (ForbiddenAddress, httpx.UnsupportedProtocol)):
        return InputFault("input_forbidden", f"{shown(url)} may not be fetched: {why}")
    if isinstance(error, TimeoutError):
        why = "it took too long"
    elif not isinstance(error, (Transient, ProtocolFault, httpx.HTTPError, httpx.InvalidURL)):
        return None
    return InputFault("input_unreachable", f"{shown(url)} could not be fetched: {why}")

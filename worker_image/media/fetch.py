"""Downloads of what jobs name: public addresses only, streamed to a file, bounded in size and time."""

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from gpulease.guard import ForbiddenAddress, guarded_client
from worker_image.faults import InputFault

TRIES = 3
FETCH_S_MAX = 1800.0
SILENCE_S_MAX = 30.0
_CHUNK_BYTES = 256 * 1024
_TRANSIENT_STATUS = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Fetched:
    path: Path
    size_bytes: int
    sha256: str


class _Transient(Exception):
    """Worth another try."""


class Fetcher:
    """`allow_origins` are ours (signed URLs); `allow_hosts` are the operator's word."""

    def __init__(
        self,
        *,
        allow_hosts: Collection[str] = (),
        allow_origins: Collection[str] = (),
        bytes_max: int = 2 * 1024**3,
    ) -> None:
        self._client = guarded_client(
            allow_hosts=allow_hosts, allow_origins=allow_origins, timeout_s=SILENCE_S_MAX
        )
        self._allowed = (allow_hosts, allow_origins)
        self._bytes_max = bytes_max

    def also(self, origin: str) -> "Fetcher":
        """Another one like this, for which that origin is ours too."""
        hosts, origins = self._allowed
        return Fetcher(allow_hosts=hosts, allow_origins=(*origins, origin), bytes_max=self._bytes_max)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def fetch(self, url: str, path: Path) -> Fetched:
        """Streams the URL into `path`, whose name owes nothing to the URL.

        Raises:
            InputFault: the address is forbidden, the server refuses, it is too big, or three tries failed.
        """
        tries = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential_jitter(initial=0.3, max=5),
            retry=retry_if_exception_type((_Transient, httpx.TransportError)),
            reraise=True,
        )
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                return await tries(self._once, url, path)
        except (_Transient, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise InputFault("input_unreachable", f"{_shown(url)} could not be fetched: {why}") from error
        except ForbiddenAddress as error:
            raise InputFault("input_forbidden", f"{_shown(url)} may not be fetched: {error}") from error

    async def _once(self, url: str, path: Path) -> Fetched:
        async with self._client.stream("GET", url) as reply:
            _check_status(reply, url)
            self._check_size(int(reply.headers.get("content-length") or 0), url)
            return await self._save(reply, url, path)

    async def _save(self, reply: httpx.Response, url: str, path: Path) -> Fetched:
        digest = hashlib.sha256()
        size_bytes = 0
        with path.open("wb") as file:
            async for chunk in reply.aiter_bytes(_CHUNK_BYTES):
                size_bytes += len(chunk)
                self._check_size(size_bytes, url)
                digest.update(chunk)
                file.write(chunk)
        return Fetched(path, size_bytes, digest.hexdigest())

    def _check_size(self, size_bytes: int, url: str) -> None:
        if size_bytes > self._bytes_max:
            raise InputFault("input_too_big", f"{_shown(url)} is larger than {self._bytes_max} bytes")


def _check_status(reply: httpx.Response, url: str) -> None:
    if reply.status_code >= 500 or reply.status_code in _TRANSIENT_STATUS:
        raise _Transient(f"the server answered {reply.status_code}")
    if reply.status_code != 200:
        raise InputFault("input_unreachable", f"{_shown(url)} answered {reply.status_code}")


def _shown(url: str) -> str:
    """The URL without its query, which may hold a signature."""
    return url.partition("?")[0][:300]

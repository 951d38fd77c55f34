"""Bytes that somebody's server sends, saved to a file within bounds of size, time and pace."""

import asyncio
import hashlib
import shutil
import zlib
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from worker_image.faults import HostFault, InputFault

DISK_LEFT_BYTES = 256 * 1024**2
_PIECE_BYTES = 1024 * 1024
_GZIP_OR_ZLIB = 47
_TRANSIENT_STATUS = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one download. In any `window_s` of its body at least `bytes_per_s_min` must come on average."""

    bytes_max: int = 2 * 1024**3
    total_s: float = 1800.0
    head_s: float = 60.0
    silence_s: float = 20.0
    window_s: float = 30.0
    bytes_per_s_min: float = 1024.0


@dataclass(frozen=True, slots=True)
class Fetched:
    path: Path
    size_bytes: int
    sha256: str


class Transient(Exception):
    """Worth another try."""


class ProtocolFault(Exception):
    """The server does not keep to HTTP; a program that is less strict may understand it."""


def check_status(status: int, url: str) -> None:
    """Passes a 200.

    Raises:
        Transient: it may be different in a moment.
        InputFault: it will not.
    """
    if status >= 500 or status in _TRANSIENT_STATUS:
        raise Transient(f"the server answered {status}")
    if status != 200:
        raise InputFault("input_unreachable", f"{shown(url)} answered {status}")


def check_size(size_bytes: int, url: str, limits: Limits) -> None:
    if size_bytes > limits.bytes_max:
        raise InputFault("input_too_big", f"{shown(url)} is larger than {limits.bytes_max} bytes")


def check_room(size_bytes: int, path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if size_bytes + DISK_LEFT_BYTES > free:
        raise HostFault("disk_full", f"The worker has {free} bytes of disk left; the input has {size_bytes}.")


async def save(chunks: AsyncIterable[bytes], path: Path, url: str, limits: Limits) -> Fetched:
    """Writes what comes to `path`.

    Raises:
        InputFault: it is too much, or it comes too slowly.
    """
    digest, size_bytes, due_bytes = hashlib.sha256(), 0, limits.window_s * limits.bytes_per_s_min
    clock, asked_bytes = asyncio.get_running_loop(), due_bytes
    watch = asyncio.timeout(limits.window_s)
    try:
        with path.open("wb") as file:
            async with watch:
                async for chunk in chunks:
                    size_bytes += len(chunk)
                    check_size(size_bytes, url, limits)
                    digest.update(chunk)
                    file.write(chunk)
                    if size_bytes >= due_bytes:
                        due_bytes = size_bytes + asked_bytes
                        watch.reschedule(clock.time() + limits.window_s)
    except TimeoutError as error:
        if not watch.expired():
            raise
        slow = f"it came slower than {limits.bytes_per_s_min:.0f} bytes/s"
        raise InputFault("input_unreachable", f"{shown(url)} could not be fetched: {slow}") from error
    return Fetched(path, size_bytes, digest.hexdigest())


async def decoded(chunks: AsyncIterable[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Undoes a Content-Encoding piece by piece, so that a bomb meets the bound on size before it meets the memory.

    Raises:
        ProtocolFault: it is another encoding than it says, or one that nobody asked for.
    """
    if encoding in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolFault(f"it has the encoding {encoding[:40]!r}, which nobody asked for")
    inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        async for chunk in chunks:
            rest = chunk
            while rest:
                yield inflate.decompress(rest, _PIECE_BYTES)
                rest = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise ProtocolFault(f"it is no {encoding} data: {error}") from error
    if not inflate.eof:
        raise ProtocolFault(f"its {encoding} data are cut off")


def shown(url: str) -> str:
    """The URL without its query, which may hold a signature, and without a password."""
    try:
        parts = httpx.URL(url).copy_with(query=None, fragment=None, userinfo=b"")
    except (httpx.InvalidURL, ValueError, TypeError):
        return repr(url.partition("?")[0].rpartition("@")[2][:300])
    return str(parts)[:300]

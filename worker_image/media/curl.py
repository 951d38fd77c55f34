"""curl, for servers that keep to HTTP less than httpx asks. It goes to the addresses that we checked, nowhere else."""

import asyncio
import contextlib
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path

from gpulease.guard import REDIRECTS_MAX, Pinned, pin_url
from worker_image.faults import InputFault
from worker_image.media.receive import Fetched, Limits, Transient, check_status, save, shown

_MARK = b"ended "
_CHUNK_BYTES = 64 * 1024
_CONNECT_FAILED = 7
_TOO_BIG = 63


@dataclass(frozen=True, slots=True)
class Reach:
    """Exemptions from the guard, as `guarded_client` takes them."""

    hosts: Collection[str] = ()
    origins: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Ended:
    """`status` is 0 if there was no answer; `redirect` is absolute."""

    code: int
    status: int
    redirect: str
    said: str
    fetched: Fetched


def curl_program() -> str | None:
    return shutil.which("curl")


async def fetch_by_curl(program: str, url: str, path: Path, reach: Reach, limits: Limits) -> Fetched:
    """Fetches as `Fetcher` does. Redirects are ours to follow: each is checked and pinned anew.

    Raises:
        ForbiddenAddress: the URL, or one that it redirects to, is private.
        InputFault: the server refuses, it is too big or too slow.
        Transient: another try may succeed.
    """
    at = url
    for _ in range(REDIRECTS_MAX + 1):
        ended = await _visit(program, await _pinned(at, reach), path, limits)
        if not ended.redirect:
            _check(ended, url, limits)
            return ended.fetched
        at = ended.redirect
    raise InputFault("input_unreachable", f"{shown(url)} redirects more than {REDIRECTS_MAX} times")


async def _pinned(url: str, reach: Reach) -> Pinned:
    try:
        return await pin_url(url, allow_hosts=reach.hosts, allow_origins=reach.origins)
    except (OSError, UnicodeError) as error:
        raise Transient(f"{shown(url)} does not resolve: {error}") from error


def _check(ended: _Ended, url: str, limits: Limits) -> None:
    if ended.code == _TOO_BIG:
        raise InputFault("input_too_big", f"{shown(url)} is larger than {limits.bytes_max} bytes")
    if ended.status and ended.status != 200:
        check_status(ended.status, url)
    if ended.code:
        raise Transient(f"curl ended with {ended.code}: {ended.said[-300:]}")


async def _visit(program: str, to: Pinned, path: Path, limits: Limits) -> _Ended:
    """One request, to the first of the addresses that takes the connection."""
    for address in to.addresses:
        ended = await _request([program, *_arguments(to, address, limits)], to.url, path, limits)
        if ended.code != _CONNECT_FAILED:
            return ended
    return ended


def _arguments(to: Pinned, address: str, limits: Limits) -> list[str]:
    """No configuration file, no proxy, no other protocol, and one address, whatever curl reads in the URL."""
    host = f"[{address}]" if ":" in address else address
    return [
        *("-q", "--silent", "--show-error", "--globoff", "--path-as-is", "--http1.1"),
        *("--proto", "=http,https", "--max-redirs", "0", "--noproxy", "*"),
        *("--connect-to", f"::{host}:{to.port}"),
        *("--connect-timeout", f"{limits.silence_s:.1f}", "--max-time", f"{limits.total_s:.1f}"),
        *("--max-filesize", str(limits.bytes_max)),
        *("--speed-limit", f"{limits.bytes_per_s_min:.0f}", "--speed-time", f"{max(limits.window_s, 1):.0f}"),
        *("--user-agent", "gpulease", "--header", "Accept-Encoding: identity"),
        *("--write-out", "%{stderr}\n" + _MARK.decode() + "%{http_code} %{redirect_url}\n"),
        *("--output", "-", "--url", to.url),
    ]


async def _request(argv: list[str], url: str, path: Path, limits: Limits) -> _Ended:
    async with _running(argv) as process:
        assert process.stdout is not None  # noqa: S101  We asked for pipes.
        assert process.stderr is not None  # noqa: S101
        fetched = await save(_chunks(process.stdout), path, url, limits)
        said = await process.stderr.read(_CHUNK_BYTES)
        code = await process.wait()
    marked = [line for line in said.splitlines() if line.startswith(_MARK)]
    status, _, redirect = (
        (marked[-1] if marked else _MARK)[len(_MARK) :].decode("utf-8", "replace").partition(" ")
    )
    said_too = said.partition(b"\n" + _MARK)[0].decode("utf-8", "replace").strip()
    return _Ended(code, int(status or 0), redirect.strip(), said_too, fetched)


async def _chunks(pipe: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await pipe.read(_CHUNK_BYTES):
        yield chunk


@contextlib.asynccontextmanager
async def _running(argv: list[str]) -> AsyncIterator[Process]:
    """Ends it on the way out. It gets no environment: proxies, key logs and other roots of trust would come from it."""
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env={})
    try:
        yield process
    finally:
        # It kills the process, and closes pipes that nobody reads any more: a full one would keep `wait` for ever.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        await asyncio.shield(process.wait())

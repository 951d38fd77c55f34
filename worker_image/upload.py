"""Outputs on their way to storage: each under a grant of its own, as patiently as a finish is reported.

An orchestrator that restarts while a render is uploaded must not cost the render. Large files go in parts, each of
which is tried again by itself. Nobody can fetch a file from a container behind a job queue; so whoever queued the
job hands over what its own agent would upload with.
"""

import asyncio
import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from gpulease.contract.agent import PartGrant, UploadComplete, UploadGrant, UploadRequest
from gpulease.contract.base import Lenient
from gpulease.contract.engines import Url
from gpulease.contract.jobs import OutputFile
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import DirectFor, Link, LinkError, Piece, Rejected, Spent, Unreachable, patiently

HANDED_OVER_S_MAX = 120.0
PARTS_AT_ONCE = 2
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Who speaks for the attempt, and for how long each call is tried."""

    link: Link
    attempt: int
    incarnation: str
    for_s: float


async def upload(link: Link, attempt: int, incarnation: str, file: MadeFile, *, for_s: float) -> OutputFile:
    """Stores one file, whole, and tries for so many seconds; of a large one, each part.

    Raises:
        HostFault: the storage was out of reach, or full, for all that time.
        LinkError: the attempt is stale, or we are refused.
    """
    path = Path(file.path)
    speaker = _Speaker(link, attempt, incarnation, for_s)
    sha256 = await asyncio.to_thread(sha256_of, path)
    size_bytes = path.stat().st_size  # noqa: ASYNC240  The local disk.
    asked = UploadRequest(
        incarnation=incarnation, name=file.name, size_bytes=size_bytes, content_type=file.content_type
    )

    async def once() -> OutputFile:
        grant = await link.grant(attempt, asked)
        put = link.direct_for(grant)
        await (put(file) if put else _put(speaker, grant, path, size_bytes))
        return OutputFile(
            name=file.name,
            key=grant.key,
            size_bytes=size_bytes,
            sha256=sha256,
            content_type=file.content_type,
        )

    try:
        return await patiently(once, for_s=for_s)
    except (Unreachable, Rejected) as error:
        raise HostFault("upload_failed", f"{file.name} could not be stored: {error}") from error


async def _put(speaker: _Speaker, grant: UploadGrant, path: Path, size_bytes: int) -> None:
    """Under one grant. One that does not hold any more is worth another: it is as if the storage were out of reach."""
    try:
        if grant.upload_id is None or not grant.parts:
            await speaker.link.put(grant.url, await _piece(path, 0, size_bytes), grant.headers)
            return
        etags = await _put_parts(speaker, grant.parts, path)
        said = UploadComplete(
            incarnation=speaker.incarnation, key=grant.key, upload_id=grant.upload_id, etags=etags
        )
        await patiently(lambda: speaker.link.complete_upload(speaker.attempt, said), for_s=speaker.for_s)
    except Spent as error:
        raise Unreachable(str(error)) from error


async def _put_parts(speaker: _Speaker, parts: tuple[PartGrant, ...], path: Path) -> tuple[str, ...]:
    """A few at once. The ETags are in the order of the parts."""
    turn = asyncio.Semaphore(PARTS_AT_ONCE)

    async def put(part: PartGrant, start: int) -> str:
        async with turn:
            piece = await _piece(path, start, part.size_bytes)
            return await patiently(lambda: speaker.link.put(part.url, piece), for_s=speaker.for_s)

    starts = [sum(one.size_bytes for one in parts[:number]) for number in range(len(parts))]
    tasks = [asyncio.create_task(put(part, start)) for part, start in zip(parts, starts, strict=True)]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Handover(Lenient):
    """Who speaks for the attempt, and where. The key is bound to that worker."""

    orchestrator: Url
    worker_id: str
    worker_key: str
    attempt: int
    incarnation: str


async def hand_over(
    to: Handover, files: tuple[MadeFile, ...], direct_for: DirectFor
) -> tuple[OutputFile, ...]:
    """Raises: HostFault: one could not be stored, or the attempt is over."""
    link = Link(to.orchestrator, to.worker_id, to.worker_key)
    link.direct_for = direct_for
    try:
        return tuple(
            [await upload(link, to.attempt, to.incarnation, file, for_s=HANDED_OVER_S_MAX) for file in files]
        )
    except LinkError as error:
        raise HostFault("upload_refused", str(error)) from error
    finally:
        await link.aclose()


def sha256_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


async def _piece(path: Path, start: int, size_bytes: int) -> Piece:
    return Piece(path, start, size_bytes, await asyncio.to_thread(_md5_of, path, start, size_bytes))


def _md5_of(path: Path, start: int, size_bytes: int) -> str:
    digest, left = hashlib.md5(usedforsecurity=False), size_bytes
    with path.open("rb") as source:
        source.seek(start)
        while left > 0 and (block := source.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    return base64.b64encode(digest.digest()).decode()

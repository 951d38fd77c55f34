"""Outputs on their way to storage: each under a grant of its own, as patiently as a finish is reported.

An orchestrator that restarts while a render is uploaded must not cost the render. Nobody can fetch a file from a
container behind a job queue; so whoever queued the job hands over what its own agent would upload with.
"""

import asyncio
import hashlib
from pathlib import Path

from gpulease.contract.agent import UploadRequest
from gpulease.contract.base import Lenient
from gpulease.contract.engines import Url
from gpulease.contract.jobs import OutputFile
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import Link, LinkError, Rejected, Unreachable, patiently

HANDED_OVER_S_MAX = 120.0


async def upload(link: Link, attempt: int, incarnation: str, file: MadeFile, *, for_s: float) -> OutputFile:
    """Stores one file, whole, and tries for so many seconds.

    Raises:
        HostFault: the storage was out of reach, or full, for all that time.
        LinkError: the attempt is stale, or we are refused.
    """
    path = Path(file.path)
    sha256 = await asyncio.to_thread(sha256_of, path)
    size_bytes = path.stat().st_size  # noqa: ASYNC240  The local disk.
    asked = UploadRequest(
        incarnation=incarnation, name=file.name, size_bytes=size_bytes, content_type=file.content_type
    )

    async def once() -> OutputFile:
        grant = await link.grant(attempt, asked)
        await link.put(grant, path, size_bytes)
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


class Handover(Lenient):
    """Who speaks for the attempt, and where. The key is bound to that worker."""

    orchestrator: Url
    worker_id: str
    worker_key: str
    attempt: int
    incarnation: str


async def hand_over(to: Handover, files: tuple[MadeFile, ...]) -> tuple[OutputFile, ...]:
    """Raises: HostFault: one could not be stored, or the attempt is over."""
    link = Link(to.orchestrator, to.worker_id, to.worker_key)
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

"""Outputs on their way to storage: each under a grant of its own, as patiently as a finish is reported.

An orchestrator that restarts while a render is uploaded must not cost the render.
"""

import asyncio
import hashlib
from pathlib import Path

from gpulease.contract.agent import UploadRequest
from gpulease.contract.jobs import OutputFile
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import Link, Rejected, Unreachable, patiently


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


def sha256_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

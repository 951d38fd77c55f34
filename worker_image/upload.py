"""Outputs on their way to storage: each under a grant of its own, three tries."""

import asyncio
import hashlib
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from gpulease.contract.agent import UploadRequest
from gpulease.contract.jobs import OutputFile
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import Link, Rejected, Unreachable

TRIES = 3


async def upload(link: Link, attempt: int, incarnation: str, file: MadeFile) -> OutputFile:
    """Stores one file, whole.

    Raises:
        HostFault: three tries failed.
        LinkError: the attempt is stale, or we are refused.
    """
    path = Path(file.path)
    sha256 = await asyncio.to_thread(sha256_of, path)
    size_bytes = path.stat().st_size  # noqa: ASYNC240  The local disk.
    asked = UploadRequest(
        incarnation=incarnation, name=file.name, size_bytes=size_bytes, content_type=file.content_type
    )
    tries = AsyncRetrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential_jitter(initial=0.2, max=5),
        retry=retry_if_exception_type(Unreachable),
        reraise=True,
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
        return await tries(once)
    except (Unreachable, Rejected) as error:
        raise HostFault("upload_failed", f"{file.name} could not be stored: {error}") from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

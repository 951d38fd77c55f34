"""A made file as storage must find it: its size and its digests, read once."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worker_image.engines.base import MadeFile

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """One file on this machine. The digests are hexadecimal; SHA-1 is what B2 checks, MD5 what S3 does."""

    path: Path
    content_type: str
    size_bytes: int
    sha256: str
    sha1: str

    @classmethod
    async def of(cls, made: MadeFile) -> Self:
        return await asyncio.to_thread(cls._read, made)

    @classmethod
    def _read(cls, made: MadeFile) -> Self:
        sha256, sha1, size_bytes = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
        with Path(made.path).open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                size_bytes += len(chunk)
                sha256.update(chunk)
                sha1.update(chunk)
        return cls(Path(made.path), made.content_type, size_bytes, sha256.hexdigest(), sha1.hexdigest())

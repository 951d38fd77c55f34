"""The contract of a storage. Every implementation passes tests/contract/test_storage.py."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class StorageFull(Exception):
    """There is no space left; nothing was kept of what was being written."""


class BadKey(ValueError):
    """A key that could leave its folder, or is too long."""


class BadSignature(Exception):
    """A URL that we did not sign so, or that has expired."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """`sha256` is hex, and None where the storage does not know it."""

    key: str
    size_bytes: int
    sha256: str | None = None


class Storage(Protocol):
    """Keys are relative paths in at most 512 characters. URLs expire, and hold for one method and one key."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Stores all of it, or nothing, and replaces what was there."""
        ...

    async def stat(self, key: str) -> StoredFile | None:
        """None where there is no such file, also because that could not be a key."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is deleted already."""
        ...

    async def presign_get(self, key: str, *, expires_s: float, filename: str | None = None) -> str: ...

    async def presign_put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        """Returns a URL for one PUT of at most so many bytes, and the headers to send with it."""
        ...

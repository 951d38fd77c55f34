"""The contract of a storage. Every implementation passes tests/contract/test_storage.py.

Errors, by what the caller does next:
    BadKey                 mend the key
    BadSignature           ask for the URL again
    StorageFull            make room; nothing was kept of what was being written
    StorageUnavailable     try again later: out of reach, in trouble, or it refuses us just now
    StorageMisconfigured   mend the settings; only `check` raises it
    UploadGone             begin this upload anew
    NotStored              there is nothing to wait for: no file lies under that key
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

URL_S_MAX = 7 * 86400
"""No URL of S3 or B2 holds longer."""
CHUNK_BYTES = 1024**2


class StorageFull(Exception):
    """There is no space left; nothing was kept of what was being written."""


class StorageUnavailable(Exception):
    """It is out of reach, in trouble, or does not let us; what was asked may have taken effect."""


class Denied(StorageUnavailable):
    """It does not accept our key, or not for that."""


class NoBucket(StorageUnavailable):
    """There is no such bucket, or not for our key."""


class StorageMisconfigured(Exception):
    """A wrong key, a missing bucket or right; the message names it, and no secret."""


class BadKey(ValueError):
    """A key that could leave its folder, or is too long."""


class BadSignature(Exception):
    """A URL that we did not sign so, or that has expired."""


class UploadGone(Exception):
    """There is no such unfinished upload: it was completed, given up, or never begun."""


class NotStored(Exception):
    """No file lies under that key."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """`sha256` is hex, and None where the storage does not know it."""

    key: str
    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PartedUpload:
    """A file in parts of `part_bytes`, the last of what is left: a URL for one PUT each, in order. `etags` are
    those of the parts that came already, in the same order.
    """

    upload_id: str
    part_bytes: int
    urls: tuple[str, ...]
    etags: tuple[str | None, ...] = ()


class Storage(Protocol):
    """Keys are relative paths in at most 512 characters. URLs expire, and hold for one method and one key.

    All calls but `check` may raise `StorageUnavailable`.
    """

    @property
    def bucket(self) -> str | None:
        """The name of the bucket, where there is one."""
        ...

    def object_name(self, key: str) -> str:
        """What a key is called in the bucket."""
        ...

    def origins(self) -> tuple[str, ...]:
        """What signed GET URLs begin with: scheme, host and port."""
        ...

    async def check(self) -> None:
        """Whether its keys, its bucket and our rights there are good.

        Raises:
            StorageMisconfigured: they are not.
            StorageUnavailable: that cannot be told now.
        """
        ...

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Stores all of it, or nothing, and replaces what was there."""
        ...

    def read_stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """The file in pieces of at most `CHUNK_BYTES`. Close it where it is not read to its end (`aclosing`).

        Raises:
            NotStored: there is no such file, also because that could not be a key.
            StorageUnavailable: also in the middle; what came until then is the file's beginning.
        """
        ...

    async def stat(self, key: str) -> StoredFile | None:
        """None where there is no such file, also because that could not be a key."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is deleted already."""
        ...

    async def presign_get(self, key: str, *, expires_s: float, filename: str | None = None) -> str:
        """`filename` is what a browser saves it as, where the storage lets a URL say so."""
        ...

    async def presign_put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        """Returns a URL for one PUT of at most so many bytes, and the headers to send with it."""
        ...

    async def start_parts(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> PartedUpload | None:
        """None where one PUT is the better way. An unfinished upload to the same key is given up."""
        ...

    async def resume_parts(
        self, key: str, upload_id: str, *, size_bytes: int, expires_s: float
    ) -> PartedUpload:
        """An upload that was begun: fresh URLs, and what has come of it.

        Raises:
            UploadGone: there is no such unfinished upload.
        """
        ...

    async def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Makes the file of its parts. Repeating it does no harm.

        Raises:
            UploadGone: there is no such upload, and no such file; or a part is missing.
        """
        ...

    async def abort_unfinished(self, *, begun_before: float) -> int:
        """Gives up what was begun before that time and never completed, and so takes space unseen. Says how many."""
        ...

    async def aclose(self) -> None: ...

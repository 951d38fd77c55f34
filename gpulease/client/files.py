"""Files on this side: what an upload sends, and where a download lands whole or not at all."""

import hashlib
import mimetypes
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from gpulease.client.errors import ClientError, Garbled
from gpulease.contract.jobs import OutputFile


def multipart(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """The upload's form; httpx reads the open file piece by piece."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"file": (path.name, file, kind)}


class Landing:
    """Takes the bytes of one output; on a clean exit the file stands at `path`, else nothing does."""

    def __init__(self, file: OutputFile, to: Path) -> None:
        self.path = to / Path(file.name).name if to.is_dir() else to
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._expected = file
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    def __enter__(self) -> Self:
        self._handle = self._part.open("wb")
        return self

    def take(self, chunk: bytes) -> None:
        self._handle.write(chunk)
        self._hash.update(chunk)
        self._size_bytes += len(chunk)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()
        try:
            if error is None:
                self._check()
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        wanted = self._expected
        if self._size_bytes != wanted.size_bytes:
            raise Garbled(f"{wanted.name}: {self._size_bytes} bytes came, not {wanted.size_bytes}")
        if wanted.sha256 is not None and self._hash.hexdigest() != wanted.sha256:
            raise Garbled(f"{wanted.name}: the bytes that came are not those that were stored")


def url_of(file: OutputFile) -> str:
    """The signed URL.

    Raises:
        ClientError: the file came without one, as files do outside of results.
    """
    if file.url is None:
        raise ClientError(f"{file.name} has no URL; ask for the job's result again")
    return file.url

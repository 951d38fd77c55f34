"""Files on this side: what an upload sends, and where a download lands whole or not at all."""

import hashlib
import mimetypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from gpulease.client.errors import ClientError, Garbled, OtherFile
from gpulease.contract.jobs import OutputFile, UploadPart, UploadRequest

Told = Callable[[int, int], None]
"""Hears how many bytes were sent, and of how many."""
PIECE_BYTES = 64 * 1024
NAME_LENGTH_MAX = 200


def multipart(path: Path, file: "IO[bytes] | Counted") -> dict[str, Any]:
    """The upload's form; httpx reads the open file piece by piece."""
    return {"file": (path.name, file, type_of(path))}


def type_of(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


class Counted:
    """An open file that tells how far it was read."""

    def __init__(self, file: IO[bytes], progress: Told) -> None:
        self._file, self._progress = file, progress
        self._size_bytes = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        self._progress(min(self._file.tell(), self._size_bytes), self._size_bytes)
        return found

    def seek(self, to: int) -> int:
        return self._file.seek(to)

    def fileno(self) -> int:
        return self._file.fileno()


@dataclass(frozen=True, slots=True)
class Source:
    """A file that goes in parts, as it was when we began."""

    path: Path
    size_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "Source":
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    def request(self) -> UploadRequest:
        """What the server is asked. Of a name that is too long, the end."""
        name = self.path.name[-NAME_LENGTH_MAX:]
        return UploadRequest(name=name, size_bytes=self.size_bytes, content_type=type_of(self.path))


class Slice:
    """The bytes of one part, read in pieces of at most `PIECE_BYTES` while it is entered."""

    def __init__(self, source: Source, part: UploadPart) -> None:
        self._source, self._part = source, part
        self._left_bytes = part.size_bytes

    def __enter__(self) -> Self:
        self._file = self._source.path.open("rb")
        self._file.seek(self._part.offset)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self) -> bytes:
        """The next piece; none at the end.

        Raises:
            OtherFile: the file was changed since the upload began. It is looked at before the last piece goes, so
                that no part of another file ever arrives whole.
        """
        piece = self._file.read(min(self._left_bytes, PIECE_BYTES))
        self._left_bytes -= len(piece)
        if self._left_bytes == 0 or not piece:
            self._check()
        return piece

    def _check(self) -> None:
        now, begun = os.fstat(self._file.fileno()), self._source
        if self._left_bytes or (now.st_size, now.st_mtime_ns) != (begun.size_bytes, begun.changed_ns):
            raise OtherFile(f"{begun.path} was changed while it was sent; upload it anew")


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

"""Storage in a folder, with URLs of our own, signed by HMAC-SHA256. The embedded default."""

import asyncio
import contextlib
import errno
import hashlib
import hmac
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode
from uuid import uuid4

from orchestrator.clock import Clock
from orchestrator.storage.protocol import BadKey, BadSignature, StorageFull, StoredFile

KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
KEY_LENGTH_MAX = 512
FULL = {errno.ENOSPC, errno.EDQUOT}
CLASH = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
Opener = Callable[[Path], BinaryIO]


class LocalStorage:
    """One process owns a root. `opener` opens a new file for writing; a test gives one that runs out of space."""

    def __init__(
        self,
        root: Path,
        origin: Callable[[], str],
        secret: bytes,
        clock: Clock,
        *,
        opener: Opener = lambda path: path.open("xb"),
    ) -> None:
        self._root = root
        self._origin = origin
        self._secret = secret
        self._clock = clock
        self._opener = opener
        # A crash in the middle of a write leaves its part behind, which nobody will finish.
        shutil.rmtree(root / "parts", ignore_errors=True)

    def path(self, key: str) -> Path:
        """Where a key lies.

        Raises:
            BadKey: it could lead out of the folder.
        """
        if len(key) > KEY_LENGTH_MAX or not KEY.fullmatch(key):
            raise BadKey(f"not a key: {key[:80]!r}")
        return self._root / key

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        self.path(key)
        part = self._root / "parts" / uuid4().hex
        try:
            with _storage_errors(key):
                return await self._write(key, part, chunks)
        finally:
            part.unlink(missing_ok=True)

    async def _write(self, key: str, part: Path, chunks: AsyncIterator[bytes]) -> StoredFile:
        path = self.path(key)
        digest = hashlib.sha256()
        size_bytes = 0
        with await asyncio.to_thread(self._open, part, path) as file:
            async for chunk in chunks:
                digest.update(chunk)
                size_bytes += len(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_flush, file)
        await asyncio.to_thread(_publish, part, path)
        return StoredFile(key, size_bytes, digest.hexdigest())

    def _open(self, part: Path, path: Path) -> BinaryIO:
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._opener(part)

    async def stat(self, key: str) -> StoredFile | None:
        try:
            with _storage_errors(key):
                path = self.path(key)
                return StoredFile(key, path.stat().st_size) if path.is_file() else None
        except (BadKey, FileNotFoundError):
            return None

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            await asyncio.to_thread(self._remove, self.path(key))

    def _remove(self, path: Path) -> None:
        """Removes the file, and the folders that it leaves empty."""
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in path.relative_to(self._root).parents[:-1]:
                (self._root / folder).rmdir()

    async def presign_get(self, key: str, *, expires_s: float, filename: str | None = None) -> str:
        return self._url(key, "GET", expires_s, {"name": filename} if filename else {})

    async def presign_put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        url = self._url(key, "PUT", expires_s, {"size_max": str(size_bytes)})
        return url, {"Content-Type": content_type}

    def _url(self, key: str, method: str, expires_s: float, said: dict[str, str]) -> str:
        self.path(key)
        said = {**said, "expires": str(int(self._clock.now() + expires_s))}
        query = urlencode({**said, "signature": self._sign(method, key, said)})
        return f"{self._origin()}/files/{quote(key)}?{query}"

    def verify(self, method: str, key: str, query: dict[str, str]) -> None:
        """Checks a URL that somebody came with.

        Raises:
            BadSignature: it is not ours for this method and key, or it has expired.
        """
        said = {name: value for name, value in query.items() if name != "signature"}
        given = query.get("signature", "")
        if not hmac.compare_digest(given.encode(), self._sign(method, key, said).encode()):
            raise BadSignature("The signature is not right; ask for the URL again.")
        if int(said["expires"]) < self._clock.now():
            raise BadSignature("The URL has expired; ask for it again.")

    def _sign(self, method: str, key: str, said: dict[str, str]) -> str:
        message = "\n".join([method, key, urlencode(sorted(said.items()))])
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(part: Path, path: Path) -> None:
    # The deletion of a neighbour may have removed the folder, empty until now, since it was made.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part.replace(path)


@contextlib.contextmanager
def _storage_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(str(error)) from error
        if error.errno in CLASH:
            raise BadKey(f"{key[:80]!r} cannot lie beside what is stored: {error.strerror}") from error
        raise

"""Storage in a folder, with URLs of our own, signed by HMAC-SHA256. The embedded default."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode
from uuid import uuid4

from orchestrator.clock import Clock
from orchestrator.storage.disk import disk_errors
from orchestrator.storage.local_parts import FOLDER, LocalParts, part_key
from orchestrator.storage.names import checked
from orchestrator.storage.protocol import (
    CHUNK_BYTES,
    BadKey,
    BadSignature,
    NotStored,
    PartedUpload,
    StorageUnavailable,
    StoredFile,
    UploadGone,
)
from orchestrator.storage.sizes import PartSizes

Opener = Callable[[Path], BinaryIO]


class LocalStorage:
    """One process owns a root. `opener` opens a new file for writing; a test gives one that runs out of space."""

    def __init__(  # noqa: PLR0913
        self,
        root: Path,
        origin: Callable[[], str],
        secret: bytes,
        clock: Clock,
        *,
        opener: Opener = lambda path: path.open("xb"),
        sizes: PartSizes | None = None,
    ) -> None:
        self._root = root
        self._origin = origin
        self._secret = secret
        self._clock = clock
        self._opener = opener
        self._parts = LocalParts(root, sizes or PartSizes())
        self.bucket: str | None = None
        # A crash in the middle of a write leaves its part behind, which nobody will finish.
        shutil.rmtree(root / "parts", ignore_errors=True)

    def object_name(self, key: str) -> str:
        return key

    def origins(self) -> tuple[str, ...]:
        return (self._origin(),)

    async def check(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def path(self, key: str) -> Path:
        """Where a key lies.

        Raises:
            BadKey: it could lead out of the folder.
        """
        return self._root / checked(key)

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        self.path(key)
        part = self._root / "parts" / uuid4().hex
        try:
            with disk_errors(key):
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

    async def read_stream(self, key: str) -> AsyncGenerator[bytes, None]:
        file = await asyncio.to_thread(self._open_stored, key)
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        except OSError as error:
            raise StorageUnavailable(f"{key} cannot be read on: {error.strerror}") from error
        finally:
            file.close()

    def _open_stored(self, key: str) -> BinaryIO:
        try:
            with disk_errors(key):
                return self.path(key).open("rb")
        except (BadKey, FileNotFoundError) as error:
            raise NotStored(f"No file lies under {key[:80]!r}.") from error
        except OSError as error:
            raise StorageUnavailable(f"{key} cannot be read: {error.strerror}") from error

    async def stat(self, key: str) -> StoredFile | None:
        try:
            with disk_errors(key):
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

    async def start_parts(
        self,
        key: str,
        *,
        size_bytes: int,
        content_type: str,  # noqa: ARG002  It follows from the name, when the file is served.
        expires_s: float,
    ) -> PartedUpload | None:
        self.path(key)
        with disk_errors(key):
            begun = await asyncio.to_thread(self._parts.begin, key, size_bytes)
        return self._signed_parts(begun, size_bytes, expires_s) if begun else None

    async def resume_parts(
        self, key: str, upload_id: str, *, size_bytes: int, expires_s: float
    ) -> PartedUpload:
        signed = self._signed_parts(upload_id, size_bytes, expires_s)
        etags = await asyncio.to_thread(self._parts.stored, key, upload_id, len(signed.urls))
        return replace(signed, etags=etags)

    async def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        path, whole = self.path(key), self._root / "parts" / uuid4().hex
        try:
            with disk_errors(key):
                await asyncio.to_thread(self._parts.join, key, upload_id, etags, whole)
                await asyncio.to_thread(_publish, whole, path)
        except UploadGone:
            # It may be that it was completed, and the reply was lost.
            if not path.is_file():
                raise
        finally:
            whole.unlink(missing_ok=True)
        await asyncio.to_thread(self._parts.forget, upload_id)

    async def abort_unfinished(self, *, begun_before: float) -> int:
        return await asyncio.to_thread(self._parts.abort, begun_before)

    def awaits(self, key: str) -> bool:
        """Whether a PUT to this key still makes sense: not for a part of an upload that is over."""
        return not key.startswith(f"{FOLDER}/") or self.path(key).parent.is_dir()

    def _signed_parts(self, upload_id: str, size_bytes: int, expires_s: float) -> PartedUpload:
        sizes = self._parts.sizes(size_bytes)
        urls = tuple(
            self._url(part_key(upload_id, number), "PUT", expires_s, {"size_max": str(size)})
            for number, size in enumerate(sizes, start=1)
        )
        return PartedUpload(upload_id, sizes[0], urls)

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

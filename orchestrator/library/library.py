"""The library's verbs: a file comes in whole, is looked through, and only then becomes a version of an asset."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.clock import Clock
from orchestrator.library.examine import Kind, examine
from orchestrator.library.reading import Unreadable, plain
from orchestrator.storage.protocol import Storage
from orchestrator.store.people import Asset, AssetVersion, By
from orchestrator.store.protocol import Store

CHUNK_BYTES = 1024 * 1024
VERSIONS_MAX = 1_000
_readers = ThreadPoolExecutor(2, "asset-reader")
"""Looking through a hostile file takes until its bound: that holds up other such files only."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A version to be, of the asset of that name in the project, or of the owner's own."""

    name: str
    project_id: str | None
    owner: str
    file: str
    """What it was called where it came from."""
    by: By


@dataclass(frozen=True, slots=True)
class _Looked:
    kind: Kind
    metadata: dict[str, Any]
    sha256: str


@dataclass(frozen=True, slots=True)
class Library:
    """`scratch` is a folder for files while they are looked through; nothing stays in it, whatever ends us."""

    store: Store
    storage: Storage
    clock: Clock
    scratch: Path
    bytes_max: int

    async def add(self, given: NewFile, chunks: AsyncIterator[bytes]) -> tuple[Asset, AssetVersion]:
        """The new version, of an asset that is made if it is new.

        Raises:
            ProblemError: 413, or 422 naming what is wrong with the file; nothing was changed.
        """
        known = await self.store.find_asset(given.name, project_id=given.project_id, owner=given.owner)
        if known and len(await self.store.list_asset_versions(known.id)) >= VERSIONS_MAX:
            raise _wrong("name", f"{given.name!r} has {VERSIONS_MAX} versions; choose another name")
        with cast("BinaryIO", tempfile.TemporaryFile(dir=self.scratch)) as file:
            looked = await self._look(file, given.file, await self._spool(file, chunks))
            if known and known.kind != looked.kind:
                raise _wrong("file", f"{given.name!r} is of the kind {known.kind}, and this is {looked.kind}")
            return await self._keep(given, looked, file)

    async def remove(self, asset: Asset, by: By) -> None:
        """With all its versions. Jobs that name them and have not begun will fail."""
        keys = await self.store.remove_asset(asset.id, by=by, now=self.clock.now())
        await self.storage.delete(keys)

    async def _spool(self, file: BinaryIO, chunks: AsyncIterator[bytes]) -> str:
        """Writes it down; returns its SHA-256."""
        digest = hashlib.sha256()
        size_bytes = 0
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > self.bytes_max:
                detail = f"At most {self.bytes_max} bytes."
                raise ProblemError(413, "The file is too large", detail, type="/problems/too-large")
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        if size_bytes == 0:
            raise _wrong("file", "the file is empty")
        return digest.hexdigest()

    async def _look(self, file: BinaryIO, name: str, sha256: str) -> _Looked:
        loop = asyncio.get_running_loop()
        try:
            kind, metadata = await loop.run_in_executor(_readers, examine, file, name)
        except Unreadable as error:
            raise _wrong("file", plain(str(error))) from error
        return _Looked(kind, {"file": plain(name), **metadata}, sha256)

    async def _keep(self, given: NewFile, looked: _Looked, file: BinaryIO) -> tuple[Asset, AssetVersion]:
        key = f"assets/{uuid4().hex}/model.{_ending(looked)}"
        stored = await self.storage.put_stream(key, _chunks(file))
        now = self.clock.now()
        asset = Asset(str(uuid4()), given.name, looked.kind, given.owner, given.project_id, now)
        version = AssetVersion(
            asset_id=asset.id,
            number=0,
            key=key,
            size_bytes=stored.size_bytes,
            sha256=looked.sha256,
            created_at=now,
            created_by=given.by.who,
            metadata=looked.metadata,
        )
        try:
            return await self.store.add_asset_version(asset, version, by=given.by)
        except BaseException:
            await asyncio.shield(self.storage.delete([key]))
            raise


def _ending(looked: _Looked) -> str:
    return "zip" if "archive" in looked.metadata else str(looked.metadata["format"])


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, 0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


def _wrong(field: str, message: str) -> ProblemError:
    return invalid([FieldFault(field=field, message=message)])

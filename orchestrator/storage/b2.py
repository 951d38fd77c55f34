"""Storage in a bucket of Backblaze B2.

Our own calls speak B2's native API, by its SDK. That API has no URL that somebody else could put a file with: its
upload URLs come with a token for the whole bucket. B2 serves the same buckets over S3 too, and takes the same
application key there, so what rented machines put goes through URLs signed for that endpoint.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from b2sdk.v3 import B2HttpApiConfig
from b2sdk.v3.exception import FileNotPresent

from orchestrator.storage.b2_calls import B2Account, B2Calls
from orchestrator.storage.disk import disk_errors
from orchestrator.storage.grants import Grants
from orchestrator.storage.names import checked, type_of
from orchestrator.storage.protocol import URL_S_MAX, BadKey, NotStored, PartedUpload, StoredFile
from orchestrator.storage.s3_calls import Missing
from orchestrator.storage.sizes import PartSizes

URLS_KEPT_MAX = 4096
URL_LEFT = 0.9
"""A URL is given out again while so much of its time is left: a new one costs a call."""


class B2Storage:
    """`spool` is a folder of ours: a stream lies there until it is whole, so that any part can be sent again."""

    def __init__(
        self,
        account: B2Account,
        spool: Path,
        *,
        sizes: PartSizes | None = None,
        api_config: B2HttpApiConfig | None = None,
    ) -> None:
        self._calls = B2Calls(account, api_config)
        self._spool = spool
        self._sizes = sizes
        self._prefix = account.prefix
        self._urls: dict[tuple[str, int], tuple[float, str]] = {}
        self.bucket: str | None = account.bucket
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A crash leaves behind what nobody will finish.
        for left in spool.iterdir():
            left.unlink()

    def object_name(self, key: str) -> str:
        return self._prefix + key

    def origins(self) -> tuple[str, ...]:
        """None before the account was first in reach. The real one is public, and needs no exemption."""
        return (self._calls.opened.origin,) if self._calls.opened else ()

    async def check(self) -> None:
        await self._calls.check()

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        name = self._name(key)
        part = self._spool / uuid4().hex
        try:
            with disk_errors(key):
                size_bytes, sha256 = await _save(part, chunks)
            opened = await self._calls.open()
            put = functools.partial(opened.bucket.upload_local_file, content_type=type_of(key))
            await self._calls.run(put, str(part), name)
        finally:
            part.unlink(missing_ok=True)
        return StoredFile(key, size_bytes, sha256)

    async def read_stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """Over S3: the SDK downloads into files, and hands out no stream."""
        try:
            name = self._name(key)
            opened = await self._calls.open()
            async with aclosing(opened.s3.read(name)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (BadKey, Missing) as error:
            raise NotStored(f"No file lies under {key[:80]!r}.") from error

    async def stat(self, key: str) -> StoredFile | None:
        try:
            name = self._name(key)
        except BadKey:
            return None
        opened = await self._calls.open()
        try:
            found = await self._calls.run(opened.bucket.get_file_info_by_name, name)
        except FileNotPresent:
            return None
        return StoredFile(key, int(found.size))

    async def delete(self, keys: Sequence[str]) -> None:
        """Every version of each: a file that was replaced keeps the old one, which is paid for."""
        opened = await self._calls.open()
        for name in [self._name(key) for key in keys]:
            await self._calls.run(_delete_versions, opened.bucket, name)

    async def presign_get(self, key: str, *, expires_s: float, filename: str | None = None) -> str:  # noqa: ARG002
        """A download authorization for this name. B2 takes it for longer names too, which begin with this one;
        but no two files of different jobs or clients share a folder.
        """
        name, valid_s = self._name(key), max(1, int(min(expires_s, URL_S_MAX)))
        now = time.monotonic()
        made_at, url = self._urls.get((name, valid_s), (now, ""))
        if url and now - made_at < valid_s * (1 - URL_LEFT):
            return url
        opened = await self._calls.open()
        token = await self._calls.run(opened.bucket.get_download_authorization, name, valid_s)
        url = f"{opened.bucket.get_download_url(name)}?Authorization={quote(token)}"
        self._keep_url((name, valid_s), (now, url))
        return url

    def _keep_url(self, what: tuple[str, int], made: tuple[float, str]) -> None:
        self._urls.pop(what, None)
        while len(self._urls) >= URLS_KEPT_MAX:
            del self._urls[next(iter(self._urls))]
        self._urls[what] = made

    async def presign_put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        grants = await self._grants()
        return grants.put(key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s)

    async def start_parts(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> PartedUpload | None:
        grants = await self._grants()
        return await grants.start(key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s)

    async def resume_parts(
        self, key: str, upload_id: str, *, size_bytes: int, expires_s: float
    ) -> PartedUpload:
        grants = await self._grants()
        return await grants.resume(key, upload_id, size_bytes=size_bytes, expires_s=expires_s)

    async def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        await (await self._grants()).complete(key, upload_id, etags)

    async def abort_unfinished(self, *, begun_before: float) -> int:
        return await (await self._grants()).abort_unfinished(begun_before=begun_before)

    async def aclose(self) -> None:
        await self._calls.aclose()

    async def _grants(self) -> Grants:
        opened = await self._calls.open()
        return Grants(opened.s3, self._prefix, self._sizes)

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)


def _delete_versions(bucket: Any, name: str) -> None:
    for version in list(bucket.list_file_versions(name)):
        if version.action == "start":
            bucket.api.cancel_large_file(version.id_)
        else:
            bucket.api.delete_file_version(version.id_, version.file_name)


async def _save(path: Path, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("xb") as file:
        async for chunk in chunks:
            digest.update(chunk)
            size_bytes += len(chunk)
            await asyncio.to_thread(file.write, chunk)
    return size_bytes, digest.hexdigest()

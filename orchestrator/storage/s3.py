"""Storage in a bucket of MinIO, or of any S3 server."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from uuid import uuid4

import httpx

from orchestrator.storage.grants import Grants
from orchestrator.storage.names import checked, disposition_of, type_of
from orchestrator.storage.protocol import (
    URL_S_MAX,
    BadKey,
    Denied,
    NotStored,
    PartedUpload,
    StorageMisconfigured,
    StorageUnavailable,
    StoredFile,
)
from orchestrator.storage.s3_calls import Missing, S3Account, S3Calls, md5_of
from orchestrator.storage.sizes import PartSizes

PIECE_BYTES = 8 * 1024**2
DELETE_KEYS_MAX = 1000


class S3Storage:
    """What we put ourselves goes in pieces of `piece_bytes`, two of which are in memory at once."""

    def __init__(
        self, account: S3Account, *, sizes: PartSizes | None = None, piece_bytes: int = PIECE_BYTES
    ) -> None:
        self._account = account
        self._calls = S3Calls(account)
        self._grants = Grants(self._calls, sizes=sizes)
        self._piece_bytes = piece_bytes
        self.bucket: str | None = account.bucket

    def object_name(self, key: str) -> str:
        return key

    def origins(self) -> tuple[str, ...]:
        return (self._account.public_url,)

    async def check(self) -> None:
        """Finds the bucket, and writes, reads and deletes a small file there."""
        account = self._account
        where = f"bucket {account.bucket!r} at {account.endpoint}"
        try:
            await self._calls.ask("head_bucket")
            await self._try_out(f"uploads/check-{uuid4().hex}")
        except Missing as error:
            raise StorageMisconfigured(f"There is no {where}. Make it, or mend MINIO_BUCKET.") from error
        except Denied as error:
            raise StorageMisconfigured(
                f"The key {account.access_key!r} may not read, write and delete in the {where}. "
                f"Mend MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or the key's rights. ({error})"
            ) from error

    async def _try_out(self, name: str) -> None:
        await self._calls.ask("put_object", Key=name, Body=b"", ContentMD5=md5_of(b""))
        await self._calls.ask("head_object", Key=name)
        await self._calls.ask("delete_object", Key=name)

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        digest = hashlib.sha256()
        pieces = _pieces(chunks, self._piece_bytes)
        said = {"Key": checked(key), "ContentType": type_of(key)}
        first = await anext(pieces, b"")
        digest.update(first)
        if len(first) < self._piece_bytes:
            await self._calls.ask("put_object", Body=first, ContentMD5=md5_of(first), **said)
            return StoredFile(key, len(first), digest.hexdigest())
        begun = await self._calls.ask("create_multipart_upload", **said)
        try:
            return await self._put_pieces(key, begun["UploadId"], _with(first, pieces))
        except BaseException:
            await asyncio.shield(self._grants.abort(key, begun["UploadId"]))
            raise

    async def _put_pieces(self, key: str, upload_id: str, pieces: AsyncIterator[bytes]) -> StoredFile:
        """One piece is on its way while the next one comes in."""
        digest = hashlib.sha256()
        size_bytes, etags = 0, list[str]()
        sending: asyncio.Task[dict[str, str]] | None = None
        try:
            async for piece in pieces:
                digest.update(piece)
                size_bytes += len(piece)
                if sending is not None:
                    etags.append((await sending)["ETag"])
                sending = asyncio.create_task(self._put_piece(key, upload_id, len(etags) + 1, piece))
            if sending is not None:
                etags.append((await sending)["ETag"])
        finally:
            if sending is not None:
                await asyncio.wait({sending})
        await self._grants.complete(key, upload_id, etags)
        return StoredFile(key, size_bytes, digest.hexdigest())

    async def _put_piece(self, key: str, upload_id: str, number: int, piece: bytes) -> dict[str, str]:
        said = {"UploadId": upload_id, "PartNumber": number, "ContentMD5": md5_of(piece)}
        return await self._calls.ask("upload_part", Key=key, Body=piece, **said)

    async def read_stream(self, key: str) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._calls.read(checked(key))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (BadKey, Missing) as error:
            raise NotStored(f"No file lies under {key[:80]!r}.") from error

    async def stat(self, key: str) -> StoredFile | None:
        try:
            found = await self._calls.ask("head_object", Key=checked(key))
        except (BadKey, Missing):
            return None
        return StoredFile(key, int(found["ContentLength"]))

    async def delete(self, keys: Sequence[str]) -> None:
        named = [{"Key": checked(key)} for key in keys]
        for at in range(0, len(named), DELETE_KEYS_MAX):
            batch = {"Objects": named[at : at + DELETE_KEYS_MAX], "Quiet": True}
            reply = await self._calls.ask("delete_objects", Delete=batch)
            if errors := reply.get("Errors"):
                first = errors[0]
                raise StorageUnavailable(
                    f"{len(errors)} files could not be deleted, {first.get('Key')} among them: {first.get('Code')}"
                )

    async def presign_get(self, key: str, *, expires_s: float, filename: str | None = None) -> str:
        name = filename or key.rsplit("/", 1)[-1]
        shown = {"ResponseContentDisposition": disposition_of(name), "ResponseContentType": type_of(name)}
        return self._calls.sign("get_object", min(expires_s, URL_S_MAX), Key=checked(key), **shown)

    async def presign_put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        return self._grants.put(key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s)

    async def start_parts(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> PartedUpload | None:
        return await self._grants.start(
            key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s
        )

    async def resume_parts(
        self, key: str, upload_id: str, *, size_bytes: int, expires_s: float
    ) -> PartedUpload:
        return await self._grants.resume(key, upload_id, size_bytes=size_bytes, expires_s=expires_s)

    async def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        await self._grants.complete(key, upload_id, etags)

    async def abort_unfinished(self, *, begun_before: float) -> int:
        return await self._grants.abort_unfinished(begun_before=begun_before)

    async def aclose(self) -> None:
        await self._calls.aclose()


def origin_of(endpoint: str, *, secure: bool) -> str:
    """An endpoint as the settings say it, `host:port` or a URL, as a URL without a path.

    Raises:
        ValueError: it is neither.
    """
    url = endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{endpoint!r} is not host:port, and no URL: {error}") from error
    plain = parts.path in ("", "/") and not parts.query and " " not in endpoint
    if parts.scheme not in ("http", "https") or not parts.host or not plain:
        raise ValueError(f"{endpoint!r} is not host:port, and no http(s) URL without a path")
    return str(parts.copy_with(path="/")).rstrip("/")


async def _pieces(chunks: AsyncIterator[bytes], piece_bytes: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of that size, but for the last."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= piece_bytes:
            yield bytes(held[:piece_bytes])
            del held[:piece_bytes]
    if held:
        yield bytes(held)


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece

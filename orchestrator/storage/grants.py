"""What machines may put straight into a bucket: signed URLs for one PUT, or for the parts of a large file, over S3.

The size and the type are signed, so that the server refuses any other. Keys of the bucket are never sent out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.storage.names import checked
from orchestrator.storage.protocol import PartedUpload, UploadGone
from orchestrator.storage.s3_calls import Missing, S3Calls
from orchestrator.storage.sizes import PartSizes

OUR_FOLDERS = ("jobs/", "uploads/", "assets/")
"""Where our keys begin. Others may have unfinished uploads in the same bucket."""


class Grants:
    """`prefix` stands before every key in the bucket: empty, or with a slash at its end."""

    def __init__(self, calls: S3Calls, prefix: str = "", sizes: PartSizes | None = None) -> None:
        self._calls = calls
        self._prefix = prefix
        self._sizes = sizes or PartSizes()

    def put(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> tuple[str, dict[str, str]]:
        said = {"Key": self._name(key), "ContentLength": size_bytes, "ContentType": content_type}
        return self._calls.sign("put_object", expires_s, **said), {"Content-Type": content_type}

    async def start(
        self, key: str, *, size_bytes: int, content_type: str, expires_s: float
    ) -> PartedUpload | None:
        if size_bytes <= self._sizes.parted_above_bytes:
            return None
        name = self._name(key)
        async for earlier in self._unfinished(name):
            if earlier["Key"] == name:
                await self.abort(name, earlier["UploadId"])
        begun = await self._calls.ask("create_multipart_upload", Key=name, ContentType=content_type)
        return await self._signed(name, begun["UploadId"], size_bytes, expires_s)

    async def resume(self, key: str, upload_id: str, *, size_bytes: int, expires_s: float) -> PartedUpload:
        name = self._name(key)
        came = await self._came(name, upload_id)
        signed = await self._signed(name, upload_id, size_bytes, expires_s)
        etags = tuple(came.get(number) for number in range(1, len(signed.urls) + 1))
        return replace(signed, etags=etags)

    async def _came(self, name: str, upload_id: str) -> dict[int, str]:
        came: dict[int, str] = {}
        said: dict[str, Any] = {"Key": name, "UploadId": upload_id}
        while True:
            page = await self._calls.ask("list_parts", **said)
            came |= {one["PartNumber"]: one["ETag"] for one in page.get("Parts", ())}
            if not page.get("IsTruncated"):
                return came
            said["PartNumberMarker"] = page["NextPartNumberMarker"]

    async def _signed(self, name: str, upload_id: str, size_bytes: int, expires_s: float) -> PartedUpload:
        sizes = self._sizes.cut(size_bytes)

        def sign() -> tuple[str, ...]:
            said = {"Key": name, "UploadId": upload_id}
            return tuple(
                self._calls.sign("upload_part", expires_s, PartNumber=number, ContentLength=size, **said)
                for number, size in enumerate(sizes, start=1)
            )

        return PartedUpload(upload_id, sizes[0], await asyncio.to_thread(sign))

    async def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        name = self._name(key)
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
        said = {"Key": name, "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
        try:
            await self._calls.ask("complete_multipart_upload", **said)
        except UploadGone:
            # It may be that it was completed, and the reply was lost.
            if not await self._is_there(name):
                raise

    async def abort(self, name: str, upload_id: str) -> None:
        """What is gone is given up already."""
        try:
            await self._calls.ask("abort_multipart_upload", Key=name, UploadId=upload_id)
        except (UploadGone, Missing):
            return

    async def abort_unfinished(self, *, begun_before: float) -> int:
        count = 0
        for folder in OUR_FOLDERS:
            async for one in self._unfinished(self._prefix + folder):
                if one["Initiated"].timestamp() < begun_before:
                    await self.abort(one["Key"], one["UploadId"])
                    count += 1
        return count

    async def _unfinished(self, prefix: str) -> AsyncIterator[dict[str, Any]]:
        said: dict[str, Any] = {"Prefix": prefix}
        while True:
            page = await self._calls.ask("list_multipart_uploads", **said)
            for one in page.get("Uploads", ()):
                yield one
            if not page.get("IsTruncated"):
                return
            said |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def _is_there(self, name: str) -> bool:
        try:
            await self._calls.ask("head_object", Key=name)
        except Missing:
            return False
        return True

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)

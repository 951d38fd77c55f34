"""Calls to an S3 server: boto3, which is synchronous, on threads of its own, with its errors put into ours."""

import asyncio
import base64
import functools
import hashlib
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3.session
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.storage.protocol import (
    CHUNK_BYTES,
    Denied,
    NoBucket,
    StorageFull,
    StorageUnavailable,
    UploadGone,
)

THREADS = 16
CONNECT_S_MAX = 5
SILENCE_S_MAX = 60
TRIES = 3
_FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage"}
_MISSING = {"NoSuchKey", "NotFound", "404"}
_GONE = {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}


class Missing(Exception):
    """There is no such object; or, where we asked for the bucket, no such bucket."""


@dataclass(frozen=True, slots=True)
class S3Account:
    """`endpoint` is where we reach it, `public_url` where workers and clients do; both without a path."""

    endpoint: str
    public_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"


class S3Calls:
    """`signer` makes URLs for those outside, and calls nobody."""

    def __init__(self, account: S3Account) -> None:
        self.account = account
        self._client = _client(account, account.endpoint)
        same = account.public_url == account.endpoint
        self._signer = self._client if same else _client(account, account.public_url)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    async def ask(self, verb: str, **said: Any) -> dict[str, Any]:
        """One call about our bucket, by boto3's name for it.

        Raises:
            Missing, Denied, StorageFull, StorageUnavailable, UploadGone
        """
        call = functools.partial(getattr(self._client, verb), Bucket=self.account.bucket, **said)
        with _errors(self.account):
            reply: dict[str, Any] = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        return reply

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """An object in pieces. A body that ends too soon, or falls silent, is an error.

        Raises:
            Missing, Denied, StorageUnavailable
        """
        body = (await self.ask("get_object", Key=name))["Body"]
        loop = asyncio.get_running_loop()
        try:
            with _errors(self.account):
                while chunk := await loop.run_in_executor(self._threads, body.read, CHUNK_BYTES):
                    yield chunk
        finally:
            body.close()

    def sign(self, verb: str, expires_s: float, **said: Any) -> str:
        """A URL for that call. All headers among `said` are signed, and must be sent as they are."""
        said = {"Bucket": self.account.bucket, **said}
        with _errors(self.account):
            url: str = self._signer.generate_presigned_url(
                verb, Params=said, ExpiresIn=max(1, int(expires_s))
            )
        return url

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._client.close)


def md5_of(content: bytes) -> str:
    """As in a Content-MD5, by which the server notices a body that was changed on its way."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


@functools.cache
def _session() -> Any:
    """It reads the description of S3 once, which takes longer than all the rest."""
    return boto3.session.Session()


_MAKING = threading.Lock()
"""A session makes one client at a time."""


def _client(account: S3Account, url: str) -> Any:
    with _MAKING:
        return _new_client(account, url)


def _new_client(account: S3Account, url: str) -> Any:
    client = _session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        region_name=account.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # What boto3 adds beyond that, many servers refuse (B2, older MinIO).
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=CONNECT_S_MAX,
            read_timeout=SILENCE_S_MAX,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            max_pool_connections=THREADS,
        ),
    )
    client.meta.events.register("before-sign.s3.DeleteObjects", _with_md5)
    return client


def _with_md5(request: Any, **_: Any) -> None:
    """Older servers want this one for a deletion of many, and know no other checksum."""
    request.headers["Content-MD5"] = md5_of(request.body)


@contextmanager
def _errors(account: S3Account) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _translated(error, account) from error
    except BotoCoreError as error:
        raise StorageUnavailable(f"S3 at {account.endpoint}: {error}") from error


def _translated(error: ClientError, account: S3Account) -> Exception:
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    what = (
        f"S3 at {account.endpoint}, bucket {account.bucket}: {error.operation_name} answered {status} {code}"
    )
    if code in _GONE:
        return UploadGone(what)
    if code in _FULL or status == 507 or "cap exceeded" in message:
        return StorageFull(f"{what}: {message}")
    if code in _MISSING:
        return Missing(what)
    if code == "NoSuchBucket":
        return NoBucket(what)
    return (Denied if status in (401, 403) else StorageUnavailable)(f"{what}: {message}")

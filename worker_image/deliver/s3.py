"""A bucket of MinIO, or of any S3, by boto3. Its URLs for readers are signed for the address that readers use."""

import hashlib
from pathlib import Path
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as boto
from botocore.client import Config

from gpulease.contract.agent import UploadGrant
from worker_image.deliver.content import Content
from worker_image.deliver.destination import (
    CONNECT_S_MAX,
    SILENCE_S_MAX,
    Facts,
    GivenUp,
    Kind,
    OutOfReach,
    Stored,
    in_thread,
)
from worker_image.faults import HostFault

URL_EXPIRES_S = 7 * 24 * 3600
PART_BYTES = 16 * 1024 * 1024
"""Files from this size on go in parts of it; so their ETag can be told beforehand."""
_TRIES = 3
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "AllAccessDisabled"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"}
_WITHOUT_MD5 = ("aws:kms", "aws:kms:dsse")


class S3Bucket:
    """`endpoint` is where this machine reaches it, `public_url` where readers do."""

    kind: Kind = "minio"

    def __init__(
        self, key: tuple[str, str], bucket: str, *, endpoint: str, public_url: str, region: str
    ) -> None:
        self.bucket = bucket
        self._key = key
        self._endpoint = endpoint
        self._public_url = public_url
        self._region = region
        self._lock = Lock()
        self._clients: dict[str, Any] = {}

    def key_of(self, name: str) -> str:
        return name

    def is_behind(self, grant: UploadGrant) -> bool:
        return urlsplit(grant.url).netloc in (
            urlsplit(self._endpoint).netloc,
            urlsplit(self._public_url).netloc,
        )

    async def store(self, content: Content, key: str, _facts: Facts | None) -> Stored:
        return await in_thread(lambda given_up: self._store(content, key, given_up))

    def _store(self, content: Content, key: str, given_up: Event) -> Stored:
        def watch(_: int) -> None:
            if given_up.is_set():
                raise GivenUp

        try:
            client = self._client(self._endpoint)
            more = {"ContentType": content.content_type, "Metadata": {"sha256": content.sha256}}
            parts = TransferConfig(PART_BYTES, max_concurrency=4, multipart_chunksize=PART_BYTES)
            path, bucket = str(content.path), self.bucket
            client.upload_file(path, bucket, key, ExtraArgs=more, Config=parts, Callback=watch)
            head = client.head_object(Bucket=bucket, Key=key)
            _check(head, content)
            url = self._client(self._public_url).generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=URL_EXPIRES_S
            )
        except S3UploadFailedError as error:
            raise self._fault(error.__context__ or error) from error
        except (boto.ClientError, boto.BotoCoreError) as error:
            raise self._fault(error) from error
        return Stored(self.kind, bucket, key, url, head["ETag"].strip('"'))

    def _client(self, endpoint: str) -> Any:
        with self._lock:
            if endpoint not in self._clients:
                self._clients[endpoint] = boto3.session.Session().client(
                    "s3",
                    endpoint_url=endpoint,
                    region_name=self._region,
                    aws_access_key_id=self._key[0],
                    aws_secret_access_key=self._key[1],
                    config=_CONFIG,
                )
            return self._clients[endpoint]

    def _fault(self, error: BaseException) -> HostFault:
        match error:
            case boto.ClientError():
                return self._refusal(error)
            case boto.ConnectionError() | boto.HTTPClientError():
                return OutOfReach("bucket_unreachable", f"MINIO_ENDPOINT cannot be reached: {error}")
            case boto.NoCredentialsError():
                return HostFault("bucket_refused", f"MINIO_ACCESS_KEY and MINIO_SECRET_KEY: {error}")
            case _:
                return HostFault("upload_failed", f"MinIO: {error}")

    def _refusal(self, error: boto.ClientError) -> HostFault:
        code = str(error.response.get("Error", {}).get("Code"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _FULL:
            return HostFault("bucket_full", f"MinIO has no room: {error}")
        if code in _REFUSED:
            return HostFault(
                "bucket_refused",
                f"MinIO does not let MINIO_ACCESS_KEY and MINIO_SECRET_KEY write there: {error}",
            )
        if code in ("NoSuchBucket", "404"):
            return HostFault("bucket_missing", f"MINIO_BUCKET: there is no bucket {self.bucket!r}.")
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return OutOfReach("bucket_unreachable", f"MinIO is in trouble: {error}")
        return HostFault("upload_failed", f"MinIO: {error}")


# Servers that are not AWS refuse the checksum headers that boto3 now sends where it need not.
_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=CONNECT_S_MAX,
    read_timeout=SILENCE_S_MAX,
    retries={"mode": "standard", "total_max_attempts": _TRIES},
)


def _check(head: dict[str, Any], content: Content) -> None:
    """An ETag is the MD5 of what was stored, or of its parts' MD5s; not so under some kinds of encryption."""
    known = head.get("ServerSideEncryption") not in _WITHOUT_MD5
    differs = known and head["ETag"].strip('"') != etag_of(content.path)
    if head["ContentLength"] != content.size_bytes or differs:
        raise OutOfReach("upload_damaged", f"MinIO has {head['ContentLength']} bytes of other content.")


def etag_of(path: Path) -> str:
    """What S3 says of a file that came in parts of `PART_BYTES`, or whole if it is smaller."""
    digests = []
    with path.open("rb") as source:
        while part := source.read(PART_BYTES):
            digests.append(hashlib.md5(part, usedforsecurity=False))
    if path.stat().st_size < PART_BYTES:
        return digests[0].hexdigest() if digests else hashlib.md5(b"", usedforsecurity=False).hexdigest()
    whole = hashlib.md5(b"".join(one.digest() for one in digests), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(digests)}"

"""Calls to Backblaze B2: its SDK, which is synchronous, on threads of its own, with its errors put into ours."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import requests
from b2sdk.v3 import B2Api, B2HttpApiConfig, InMemoryAccountInfo
from b2sdk.v3 import exception as b2

from orchestrator.storage.protocol import (
    Denied,
    NoBucket,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)
from orchestrator.storage.s3_calls import S3Account, S3Calls

THREADS = 16
TIMEOUT_S_MAX = (10.0, 60.0)
"""To connect, and of silence."""
NEEDED = ("listBuckets", "listFiles", "readFiles", "shareFiles", "writeFiles", "deleteFiles")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class B2Account:
    """`prefix` stands before every key: empty, or with a slash at its end. `s3_url` unset: the account's own."""

    key_id: str
    app_key: str = field(repr=False)
    bucket: str
    prefix: str = ""
    realm: str = "production"
    s3_url: str | None = None


class B2Session(requests.Session):
    """The SDK alone waits for minutes, and longer with each try."""

    def request(self, *args: Any, **said: Any) -> requests.Response:
        connect_s, silence_s = said.get("timeout") or TIMEOUT_S_MAX
        said["timeout"] = (min(connect_s, TIMEOUT_S_MAX[0]), min(silence_s, TIMEOUT_S_MAX[1]))
        return super().request(*args, **said)


@dataclass(frozen=True, slots=True)
class Opened:
    """What the account told us when it let us in. `s3` is the same bucket by the other API."""

    bucket: Any
    s3: S3Calls
    origin: str
    allowed: dict[str, Any]


class B2Calls:
    """The account may be out of reach when we start; so it is asked whenever it is needed, until it answers."""

    def __init__(self, account: B2Account, api_config: B2HttpApiConfig | None = None) -> None:
        self.account = account
        config = api_config or B2HttpApiConfig(http_session_factory=B2Session)
        self._api = B2Api(InMemoryAccountInfo(), api_config=config)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="b2")
        self._opening = asyncio.Lock()
        self.opened: Opened | None = None

    async def open(self) -> Opened:
        async with self._opening:
            if self.opened is None:
                self.opened = await self.run(self._authorize)
        return self.opened

    async def run(self, call: Callable[..., Value], *args: Any) -> Value:
        """One call of the SDK.

        Raises:
            b2.FileNotPresent, Denied, NoBucket, StorageFull, StorageUnavailable
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
        except b2.FileNotPresent:
            raise
        except b2.B2Error as error:
            raise _translated(error) from error

    async def check(self) -> None:
        """Raises: StorageMisconfigured, or StorageUnavailable where that cannot be told now."""
        account = self.account
        try:
            opened = await self.open()
        except Denied as error:
            raise StorageMisconfigured(
                f"B2 does not accept the key {account.key_id!r}, or not for the bucket {account.bucket!r}. "
                f"Mend B2_KEY_ID and B2_APP_KEY, or the key's capabilities. ({error})"
            ) from error
        except NoBucket as error:
            raise StorageMisconfigured(
                f"The B2 key {account.key_id!r} knows no bucket {account.bucket!r}. Mend B2_BUCKET_NAME. ({error})"
            ) from error
        self._check_rights(opened.allowed)

    def _check_rights(self, allowed: dict[str, Any]) -> None:
        key_id = self.account.key_id
        lacking = [one for one in NEEDED if one not in allowed["capabilities"]]
        if lacking:
            raise StorageMisconfigured(
                f"The B2 key {key_id!r} lacks the capabilities {', '.join(lacking)}. Make one that has them."
            )
        theirs = allowed.get("namePrefix") or ""
        if not self.account.prefix.startswith(theirs):
            raise StorageMisconfigured(
                f"The B2 key {key_id!r} is for names that begin with {theirs!r}. Let B2_PREFIX begin so."
            )

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self.opened is not None:
            await self.opened.s3.aclose()

    def _authorize(self) -> Opened:
        account, api = self.account, self._api
        api.authorize_account(account.key_id, account.app_key, realm=account.realm)
        bucket = api.get_bucket_by_name(account.bucket)
        told = api.account_info
        url = (account.s3_url or told.get_s3_api_url()).rstrip("/")
        s3 = S3Account(url, url, account.bucket, account.key_id, account.app_key, region_of(url))
        return Opened(bucket, S3Calls(s3), told.get_download_url(), told.get_allowed())


def region_of(s3_url: str) -> str:
    """As B2's own S3 endpoints say it: https://s3.us-west-004.backblazeb2.com."""
    found = re.match(r"https://s3\.([a-z0-9-]+)\.backblazeb2\.com", s3_url)
    return found[1] if found else "us-east-1"


def _translated(error: b2.B2Error) -> Exception:
    said = f"B2: {error}"
    if isinstance(error, b2.CapExceeded) or "cap_exceeded" in said.lower():
        return StorageFull(said)
    if isinstance(error, b2.NonExistentBucket | b2.RestrictedBucket):
        return NoBucket(said)
    return (Denied if isinstance(error, b2.Unauthorized) else StorageUnavailable)(said)

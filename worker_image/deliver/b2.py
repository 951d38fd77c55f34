"""A bucket of Backblaze B2, over its native API by its SDK. Beside each result lies `{its name}.json`."""

import json
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

import requests
from b2sdk.v3 import (
    AbstractProgressListener,
    B2Api,
    B2HttpApiConfig,
    Bucket,
    FileVersion,
    InMemoryAccountInfo,
)
from b2sdk.v3 import exception as b2

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

_CLOUD = ".backblazeb2.com"


class B2Bucket:
    """`realm` is the SDK's name of one, or the URL of a server that speaks the same API."""

    kind: Kind = "b2"

    def __init__(self, key: tuple[str, str], bucket: str, *, prefix: str, realm: str) -> None:
        self.bucket = bucket
        self._key = key
        self._prefix = prefix.strip("/")
        self._realm = realm
        self._lock = Lock()
        self._opened: Bucket | None = None

    def key_of(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def is_behind(self, grant: UploadGrant) -> bool:
        host = urlsplit(grant.url).hostname or ""
        return host.endswith(_CLOUD) or host == urlsplit(self._realm).hostname

    async def store(self, content: Content, key: str, facts: Facts | None) -> Stored:
        return await in_thread(lambda given_up: self._store(content, key, facts, given_up))

    def _store(self, content: Content, key: str, facts: Facts | None, given_up: Event) -> Stored:
        try:
            bucket = self._open()
            made = bucket.upload_local_file(
                content.path,
                key,
                content_type=content.content_type,
                sha1_sum=content.sha1,
                progress_listener=_Watch(given_up),
            )
            _check(made, content)
            if facts is not None:
                said = json.dumps(facts.beside(self.bucket, key, content), indent=1).encode()
                bucket.upload_bytes(said, f"{key}.json", content_type="application/json")
        except b2.B2Error as error:
            if given_up.is_set():
                raise GivenUp from error
            raise self._fault(error) from error
        return Stored(self.kind, self.bucket, key)

    def _open(self) -> Bucket:
        with self._lock:
            if self._opened is None:
                config = B2HttpApiConfig(http_session_factory=_Session)
                api = B2Api(InMemoryAccountInfo(), api_config=config)
                api.authorize_account(*self._key, realm=self._realm)
                self._opened = api.get_bucket_by_name(self.bucket)
            return self._opened

    def _fault(self, error: Exception) -> HostFault:
        if isinstance(error, b2.MaxRetriesExceeded):
            return self._fault(error.exception_info_list[-1])
        for kinds, fault, code, what in _FAULTS:
            if isinstance(error, kinds):
                return fault(code, f"{what.format(bucket=self.bucket)} {error}")
        return HostFault("upload_failed", f"B2: {error}")


_UNSTEADY = (
    b2.TransientErrorMixin,
    b2.TooManyRequests,
    b2.UnknownHost,
    b2.AlreadyFailed,
    b2.ConnectionReset,
    b2.BrokenPipe,
    b2.UnknownError,
)
_FAULTS: tuple[tuple[tuple[type[Exception], ...], type[HostFault], str, str], ...] = (
    (
        (b2.Unauthorized, b2.AccessDenied),
        HostFault,
        "bucket_refused",
        "B2 does not let B2_KEY_ID and B2_APP_KEY write to {bucket}:",
    ),
    (
        (b2.RestrictedBucket, b2.NotAllowedByAppKeyError),
        HostFault,
        "bucket_refused",
        "The key B2_KEY_ID is not for {bucket}:",
    ),
    ((b2.NonExistentBucket,), HostFault, "bucket_missing", "B2_BUCKET_NAME: there is no bucket {bucket}."),
    ((b2.CapExceeded,), HostFault, "bucket_full", "B2's account is at its cap:"),
    (_UNSTEADY, OutOfReach, "bucket_unreachable", "B2 cannot be reached, or is in trouble:"),
)


def _check(made: FileVersion, content: Content) -> None:
    """A large file has no digest of its own; each of its parts was checked against one."""
    differs = made.content_sha1 not in (None, "none", content.sha1)
    if made.size != content.size_bytes or differs:
        raise OutOfReach(
            "upload_damaged", f"B2 has {made.size} bytes of other content under {made.file_name!r}."
        )


class _Session(requests.Session):
    """The SDK waits up to two minutes for a silent server; this one does not."""

    def request(self, *args: Any, **more: Any) -> requests.Response:
        return super().request(*args, **{**more, "timeout": (CONNECT_S_MAX, SILENCE_S_MAX)})


class _Watch(AbstractProgressListener):  # type: ignore[misc]
    """Breaks an upload off when nobody waits for it."""

    def __init__(self, given_up: Event) -> None:
        super().__init__()
        self._given_up = given_up

    def set_total_bytes(self, total_byte_count: int) -> None:
        pass

    def bytes_completed(self, byte_count: int) -> None:  # noqa: ARG002  The SDK's own.
        if self._given_up.is_set():
            raise GivenUp

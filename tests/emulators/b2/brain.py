"""b2sdk's own simulator, made to check what it takes for granted: tokens, their age, and what a key may touch."""

import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from b2sdk._internal.raw_simulator import BucketSimulator, FileSimulator
from b2sdk.v3 import RawSimulator

from b2.faults import BAD_TOKEN, EXPIRED_TOKEN, NOT_FOUND, UNAUTHORIZED, Fault
from b2.knobs import B2Knobs

UPLOADS_AT = "https://upload.example.com/"
"""Where the simulator believes that its uploads go."""


@dataclass(frozen=True)
class Pass:
    """A download authorization."""

    bucket_id: str
    prefix: str
    expires_at: float


class Bucket(BucketSimulator):
    """Without its limits on numbers, and with the time as B2 has it."""

    FIRST_FILE_NUMBER = 10**11 - 1
    FIRST_FILE_ID = str(FIRST_FILE_NUMBER)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.upload_url_counter = itertools.count()
        self.file_id_counter = itertools.count(self.FIRST_FILE_NUMBER, -1)
        self.upload_timestamp_counter = _moments()

    def newest(self, name: str) -> FileSimulator | None:
        """The version that a download by name gets."""
        ids = [file_id for (file_name, file_id) in self.file_name_and_id_to_file if file_name == name]
        files = [self.file_name_and_id_to_file[name, file_id] for file_id in sorted(ids)]
        finished = [file for file in files if file.action != "start"]
        return finished[0] if finished and finished[0].is_visible() else None

    def keep(self, name: str, content: bytes, content_type: str) -> FileSimulator:
        """A new version that came by another way than B2's own API."""
        file = self.FILE_SIMULATOR_CLASS(
            self.account_id,
            self,
            self._next_file_id(),
            "upload",
            name,
            content_type,
            "none",
            {},
            content,
            next(self.upload_timestamp_counter),
            server_side_encryption=self.default_server_side_encryption,
        )
        self.file_id_to_file[file.file_id] = file
        self.file_name_and_id_to_file[file.sort_key()] = file
        self.api.file_id_to_bucket_id[file.file_id] = self.bucket_id
        return file

    def hide(self, name: str) -> None:
        """What a delete by name does to a bucket that keeps versions."""
        file = self.FILE_SIMULATOR_CLASS(
            self.account_id,
            self,
            self._next_file_id(),
            "hide",
            name,
            None,
            "none",
            {},
            b"",
            next(self.upload_timestamp_counter),
        )
        self.file_id_to_file[file.file_id] = file
        self.file_name_and_id_to_file[file.sort_key()] = file
        self.api.file_id_to_bucket_id[file.file_id] = self.bucket_id


class Brain(RawSimulator):
    """`in_hand` is the bucket that the present call is about, whether it names it or a file in it."""

    BUCKET_SIMULATOR_CLASS = Bucket

    def __init__(self, knobs: B2Knobs) -> None:
        super().__init__()
        self._knobs = knobs
        self._born: dict[str, float] = {}
        self.passes: dict[str, Pass] = {}
        self.in_hand: str | None = None

    def at(self, api_url: str, s3_url: str) -> None:
        self.API_URL = self.DOWNLOAD_URL = api_url
        self.S3_API_URL = s3_url

    def authorize_account(
        self, realm_url: str, application_key_id: str, application_key: str
    ) -> dict[str, Any]:
        key = self.key_id_to_key.get(application_key_id)
        if key and key.expiration_timestamp_or_none and key.expiration_timestamp_or_none < time.time():
            raise UNAUTHORIZED
        reply: dict[str, Any] = super().authorize_account(realm_url, application_key_id, application_key)
        self._born[reply["authorizationToken"]] = time.monotonic()
        reply["apiInfo"]["storageApi"] |= {
            "absoluteMinimumPartSize": self._knobs.part_bytes,
            "recommendedPartSize": self._knobs.recommended_part_bytes,
        }
        return reply

    def expire_tokens(self) -> None:
        """Every token that was handed out so far."""
        self.expired_auth_tokens |= set(self.auth_token_to_key)

    def check_token(self, token: str) -> None:
        if token not in self.auth_token_to_key:
            raise BAD_TOKEN
        born = self._born[token]
        if token in self.expired_auth_tokens or time.monotonic() > born + self._knobs.tokens_live_s:
            raise EXPIRED_TOKEN

    def may(self, token: str, capability: str, name: str | None = None) -> None:
        """Raises where that account token may not do that, in the bucket in hand, to a file of that name."""
        self.check_token(token)
        key = self.auth_token_to_key[token]
        self._assert_account_auth(self.API_URL, token, key.account_id, capability, file_name=name)

    def get_file_info_by_id(self, api_url: str, account_auth_token: str, file_id: str) -> dict[str, Any]:
        self.may(account_auth_token, "readFiles")
        if file_id not in self.file_id_to_bucket_id:
            raise NOT_FOUND
        found: dict[str, Any] = super().get_file_info_by_id(api_url, account_auth_token, file_id)
        return found

    def start_large_file(
        self, api_url: str, account_auth_token: str, bucket_id: str, file_name: str, *more: Any, **named: Any
    ) -> dict[str, Any]:
        self.may(account_auth_token, "writeFiles", file_name)
        begun: dict[str, Any] = super().start_large_file(
            api_url, account_auth_token, bucket_id, file_name, *more, **named
        )
        return begun

    def finish_large_file(
        self, api_url: str, account_auth_token: str, file_id: str, part_sha1_array: list[str]
    ) -> dict[str, Any]:
        file = self._get_bucket_by_id(self.file_id_to_bucket_id[file_id]).file_id_to_file[file_id]
        parts = [part for part in file.parts if part is not None]
        if any(part.content_length < self._knobs.part_bytes for part in parts[:-1]):
            raise Fault(400, "bad_request", "Part is smaller than the minimum part size")
        done: dict[str, Any] = super().finish_large_file(
            api_url, account_auth_token, file_id, part_sha1_array
        )
        return done

    def get_download_authorization(
        self,
        api_url: str,
        account_auth_token: str,
        bucket_id: str,
        file_name_prefix: str,
        valid_duration_in_seconds: int,
    ) -> dict[str, Any]:
        if not 1 <= valid_duration_in_seconds <= 604_800:
            raise Fault(400, "bad_request", "validDurationInSeconds must be 1 to 604800")
        self.may(account_auth_token, "shareFiles", file_name_prefix)
        token = f"3_{secrets.token_urlsafe(24)}_dnld="
        self.passes[token] = Pass(bucket_id, file_name_prefix, time.time() + valid_duration_in_seconds)
        return {"bucketId": bucket_id, "fileNamePrefix": file_name_prefix, "authorizationToken": token}

    def admit_download(self, token: str, file: FileSimulator) -> None:
        """Raises where that token, of an account or of a download authorization, does not open that file."""
        if file.bucket.bucket_type == "allPublic":
            return
        granted = self.passes.get(token)
        if granted is None:
            self.in_hand = file.bucket.bucket_id
            self.may(token, "readFiles", file.name)
        elif granted.expires_at < time.time():
            raise EXPIRED_TOKEN
        elif granted.bucket_id != file.bucket.bucket_id or not file.name.startswith(granted.prefix):
            raise UNAUTHORIZED

    def _assert_account_auth(  # noqa: PLR0917  The simulator's own.
        self,
        api_url: str,
        account_auth_token: str,
        account_id: str,
        capability: str,
        bucket_id: str | None = None,
        file_name: str | None = None,
    ) -> None:
        self.check_token(account_auth_token)
        own = (self.API_URL, account_auth_token, account_id, capability)
        super()._assert_account_auth(*own, bucket_id or self.in_hand, file_name)


def _moments() -> Iterator[int]:
    """Milliseconds since 1970, none twice."""
    last = 0
    while True:
        last = max(last + 1, int(time.time() * 1000))
        yield last

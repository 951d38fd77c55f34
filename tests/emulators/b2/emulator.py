"""Backblaze B2 as a real HTTP server on this machine: its native API and its S3 API over one set of buckets.

async with B2Emulator() as b2:
...  # b2.url is the realm; b2.key_id, b2.app_key, b2.bucket, b2.s3_url, b2.knobs, b2.files()
"""

from typing import Any, Self

from b2sdk._internal.raw_simulator import FileSimulator
from starlette.applications import Starlette

from b2.brain import Brain, Bucket
from b2.faults import TABLE, Fault
from b2.gate import Gate, on_error
from b2.knobs import B2Knobs
from b2.native import Native
from b2.s3 import S3
from loopback_server import LoopbackServer


class B2Emulator:
    """`key_id` and `app_key` are the account's own, without limits. `calls` are the names of what came, in order."""

    def __init__(self, bucket: str = "talking-avatar", knobs: B2Knobs | None = None) -> None:
        self.bucket = bucket
        self.knobs = knobs or B2Knobs()
        self.calls: list[str] = []
        self.brain = Brain(self.knobs)
        self.key_id, self.app_key = self.brain.create_account()

    async def __aenter__(self) -> Self:
        native = Native(self.brain, self.knobs, self.calls)
        s3 = S3(self.brain, self.knobs, self.calls)
        handlers: Any = dict.fromkeys((Fault, *(kind for kind, _, _ in TABLE)), on_error)
        app = Starlette(routes=native.routes(), exception_handlers=handlers)
        self._server = await LoopbackServer.start(Gate(self.knobs, app))
        self._s3_server = await LoopbackServer.start(Gate(self.knobs, Starlette(routes=s3.routes())))
        self.url = f"http://{self._server.address}"
        self.s3_url = f"http://{self._s3_server.address}"
        self.brain.at(self.url, self.s3_url)
        self.make_bucket(self.bucket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()
        await self._s3_server.aclose()

    def make_bucket(self, name: str, kind: str = "allPrivate") -> str:
        """Returns its id."""
        token = self._token()
        made = self.brain.create_bucket(self.brain.API_URL, token, self.key_id, name, kind)
        return str(made["bucketId"])

    def make_key(
        self,
        capabilities: list[str],
        bucket: str | None = None,
        prefix: str | None = None,
        lives_s: int | None = None,
    ) -> tuple[str, str]:
        """An application key with these limits: its id and its secret."""
        bucket_ids = [self._bucket(bucket).bucket_id] if bucket else None
        token = self._token()
        api_url, name = self.brain.API_URL, "made-here"
        made = self.brain.create_key(
            api_url, token, self.key_id, capabilities, name, lives_s, bucket_ids, prefix
        )
        return made["applicationKeyId"], made["applicationKey"]

    def expire_tokens(self) -> None:
        """Whoever is authorized must do it again."""
        self.brain.expire_tokens()

    def file(self, name: str, bucket: str | None = None) -> FileSimulator | None:
        """The newest version, if it is not hidden: `data_bytes`, `content_type`, `file_info`, `file_id`."""
        return self._bucket(bucket or self.bucket).newest(name)

    def files(self, bucket: str | None = None) -> dict[str, bytes]:
        """What a listing would show, with content."""
        found = self._bucket(bucket or self.bucket)
        names = {name for name, _ in found.file_name_and_id_to_file}
        newest = {name: found.newest(name) for name in sorted(names)}
        return {name: file.data_bytes for name, file in newest.items() if file is not None}

    def _bucket(self, name: str) -> Bucket:
        found: Bucket = self.brain.bucket_name_to_bucket[name]
        return found

    def _token(self) -> str:
        self.brain.in_hand = None
        reply = self.brain.authorize_account(self.brain.API_URL, self.key_id, self.app_key)
        return str(reply["authorizationToken"])

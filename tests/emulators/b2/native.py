"""B2's native API over HTTP: the calls with JSON, the uploads, and the downloads."""

import base64
import binascii
import hashlib
import inspect
import io
import re
from collections.abc import Callable
from typing import Any

from b2sdk._internal.raw_simulator import FileSimulator
from b2sdk._internal.utils import b2_url_decode
from b2sdk.v3 import B2RawHTTPApi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2.brain import UPLOADS_AT, Brain
from b2.faults import (
    BAD_TOKEN,
    BUSY,
    NOT_FOUND,
    STORAGE_FULL,
    UNAUTHORIZED,
    Fault,
)
from b2.knobs import B2Knobs, spend

_CALLS = {
    "b2_cancel_large_file": "cancel_large_file",
    "b2_create_bucket": "create_bucket",
    "b2_create_key": "create_key",
    "b2_delete_bucket": "delete_bucket",
    "b2_delete_file_version": "delete_file_version",
    "b2_delete_key": "delete_key",
    "b2_finish_large_file": "finish_large_file",
    "b2_get_download_authorization": "get_download_authorization",
    "b2_get_file_info": "get_file_info_by_id",
    "b2_get_upload_part_url": "get_upload_part_url",
    "b2_get_upload_url": "get_upload_url",
    "b2_hide_file": "hide_file",
    "b2_list_buckets": "list_buckets",
    "b2_list_file_names": "list_file_names",
    "b2_list_file_versions": "list_file_versions",
    "b2_list_keys": "list_keys",
    "b2_list_parts": "list_parts",
    "b2_list_unfinished_large_files": "list_unfinished_large_files",
    "b2_start_large_file": "start_large_file",
    "b2_update_bucket": "update_bucket",
}
# Names that the simulator spells otherwise.
_RENAMED = {
    ("b2_create_key", "valid_duration_in_seconds"): "valid_duration_seconds",
    ("b2_list_unfinished_large_files", "name_prefix"): "prefix",
    ("b2_create_bucket", "file_lock_enabled"): "is_file_lock_enabled",
    ("b2_update_bucket", "file_lock_enabled"): "is_file_lock_enabled",
}
# Codes for a file that is not there, where they are not those of a download.
_MISSING = {"b2_delete_file_version": "file_not_present", "b2_hide_file": "no_such_file"}
_INFO = "x-bz-info-"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Native:
    """The routes, over one brain. `calls` are the names of the calls, as they came."""

    def __init__(self, brain: Brain, knobs: B2Knobs, calls: list[str]) -> None:
        self._brain = brain
        self._knobs = knobs
        self._calls = calls
        self._spent: set[str] = set()

    def routes(self) -> list[Route]:
        api = "/b2api/{version}"
        return [
            Route(f"{api}/b2_authorize_account", self._authorize, methods=["GET", "POST"]),
            Route(f"{api}/b2_upload_file/{{at:path}}", self._upload_file, methods=["POST"]),
            Route(f"{api}/b2_upload_part/{{at:path}}", self._upload_part, methods=["POST"]),
            Route(f"{api}/b2_download_file_by_id", self._download_by_id, methods=["GET", "POST"]),
            Route(f"{api}/{{call}}", self._call, methods=["GET", "POST"]),
            Route("/file/{bucket}/{name:path}", self._download_by_name, methods=["GET"]),
        ]

    async def _authorize(self, request: Request) -> Response:
        self._calls.append("b2_authorize_account")
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            key_id, _, key = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BAD_TOKEN from error
        if kind.lower() != "basic":
            raise BAD_TOKEN
        return JSONResponse(self._brain.authorize_account(self._brain.API_URL, key_id, key))

    async def _call(self, request: Request) -> Response:
        call = request.path_params["call"]
        self._calls.append(call)
        if call not in _CALLS:
            raise Fault(404, "not_found", f"There is no {call}")
        said = await request.json() if request.method == "POST" else dict(request.query_params)
        token = request.headers.get("authorization", "")
        self._brain.check_token(token)
        self._take_in_hand(said)
        method = getattr(self._brain, _CALLS[call])
        try:
            reply = method(self._brain.API_URL, token, **_arguments(call, method, said))
        except Fault as fault:
            if fault.code == "not_found" and call in _MISSING:
                raise Fault(400, _MISSING[call], "file not present") from fault
            raise
        return JSONResponse(self._as_b2_says(call, reply))

    def _take_in_hand(self, said: dict[str, Any]) -> None:
        name = said.get("bucketName")
        named = self._brain.bucket_name_to_bucket.get(name) if name else None
        of_file = self._brain.file_id_to_bucket_id.get(said.get("fileId", ""))
        self._brain.in_hand = said.get("bucketId") or of_file or (named.bucket_id if named else None)

    def _as_b2_says(self, call: str, reply: dict[str, Any]) -> dict[str, Any]:
        buckets = reply.get("buckets", [reply] if "options" in reply else [])
        for bucket in buckets:
            bucket["options"] = sorted(bucket["options"])
        if "uploadUrl" in reply:
            kind = "b2_upload_part" if call == "b2_get_upload_part_url" else "b2_upload_file"
            path = reply["uploadUrl"].removeprefix(UPLOADS_AT)
            reply["uploadUrl"] = f"{self._brain.API_URL}/b2api/v4/{kind}/{path}"
        return reply

    async def _upload_file(self, request: Request) -> Response:
        return await self._upload(request, "b2_upload_file", self._take_file)

    async def _upload_part(self, request: Request) -> Response:
        return await self._upload(request, "b2_upload_part", self._take_part)

    async def _upload(
        self, request: Request, call: str, take: Callable[[str, Request, bytes], dict[str, Any]]
    ) -> Response:
        self._calls.append(call)
        at = UPLOADS_AT + request.path_params["at"]
        content = await request.body()
        try:
            self._admit_upload(at, request)
            return JSONResponse(take(at, request, content))
        except Exception:
            self._spent.add(at)
            raise

    def _admit_upload(self, at: str, request: Request) -> None:
        if at in self._spent or request.headers.get("authorization") != at:
            raise BAD_TOKEN
        self._brain.check_token(at.rpartition("/")[2])
        if spend(self._knobs, "busy_uploads"):
            raise BUSY
        if self._knobs.storage_full:
            raise STORAGE_FULL

    def _take_file(self, at: str, request: Request, content: bytes) -> dict[str, Any]:
        headers = request.headers
        name = b2_url_decode(headers["x-bz-file-name"])
        self._brain.in_hand = at.removeprefix(UPLOADS_AT).partition("/")[0]
        self._brain.may(at.rpartition("/")[2], "writeFiles", name)
        B2RawHTTPApi(None).check_b2_filename(name)
        content_type = headers.get("content-type", "application/octet-stream")
        info = {
            key.removeprefix(_INFO): b2_url_decode(headers[key]) for key in headers if key.startswith(_INFO)
        }
        sha1 = headers["x-bz-content-sha1"]
        unverified = sha1 == "do_not_verify"
        reply: dict[str, Any] = self._brain.upload_file(
            at,
            at,
            name,
            len(content),
            "application/octet-stream" if content_type == "b2/x-auto" else content_type,
            hashlib.sha1(content).hexdigest() if unverified else sha1,
            info,
            io.BytesIO(content),
        )
        return reply | ({"contentSha1": f"unverified:{reply['contentSha1']}"} if unverified else {})

    def _take_part(self, at: str, request: Request, content: bytes) -> dict[str, Any]:
        number, sha1 = int(request.headers["x-bz-part-number"]), request.headers["x-bz-content-sha1"]
        reply: dict[str, Any] = self._brain.upload_part(
            at, at, number, len(content), sha1, io.BytesIO(content)
        )
        return reply

    async def _download_by_id(self, request: Request) -> Response:
        self._calls.append("b2_download_file_by_id")
        said = await request.json() if request.method == "POST" else request.query_params
        bucket_id = self._brain.file_id_to_bucket_id.get(said.get("fileId", ""))
        if bucket_id is None:
            raise NOT_FOUND
        files = self._brain.bucket_id_to_bucket[bucket_id].file_id_to_file
        return self._given(request, files.get(said["fileId"]))

    async def _download_by_name(self, request: Request) -> Response:
        self._calls.append("b2_download_file_by_name")
        bucket = self._brain.bucket_name_to_bucket.get(request.path_params["bucket"])
        return self._given(request, bucket.newest(request.path_params["name"]) if bucket else None)

    def _given(self, request: Request, file: FileSimulator | None) -> Response:
        token = request.headers.get("authorization") or request.query_params.get("Authorization", "")
        if file is None:
            if token not in self._brain.passes:
                self._brain.check_token(token)  # A stranger is not told what there is.
            raise NOT_FOUND
        if not token and file.bucket.bucket_type != "allPublic":
            raise UNAUTHORIZED
        self._brain.admit_download(token, file)
        content, span = file.data_bytes, asked_range(request, len(file.data_bytes))
        headers = {key: value for key, value in file.as_download_headers().items() if key != "content-length"}
        headers["accept-ranges"] = "bytes"
        if span is None:
            return Response(content, headers=headers)
        first, last = span
        headers["content-range"] = f"bytes {first}-{last}/{len(content)}"
        return Response(content[first : last + 1], 206, headers=headers)


def asked_range(request: Request, size: int) -> tuple[int, int] | None:
    """First and last byte. Raises `Fault` where there are none."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None:
        return None
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    if first > last:
        raise Fault(416, "range_not_satisfiable", "The range is not in the file")
    return first, last


def _arguments(call: str, method: Callable[..., Any], said: dict[str, Any]) -> dict[str, Any]:
    """What the simulator's method takes of a body; it knows no encryption and no retention in JSON."""
    known = inspect.signature(method).parameters
    named = {re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value for key, value in said.items()}
    renamed = {_RENAMED.get((call, key), key): value for key, value in named.items()}
    taken = {key: value for key, value in renamed.items() if key in known or _takes_more(known, key)}
    missing = [
        key
        for key, parameter in known.items()
        if key not in taken
        and key not in ("api_url", "account_auth_token")
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is parameter.empty
    ]
    return taken | dict.fromkeys(missing)


def _takes_more(known: Any, key: str) -> bool:
    return "named" in known and key in ("content_type", "file_info")

"""The S3 side of the emulated B2: single objects and multipart uploads by path-style URLs, into the same buckets."""

import base64
import hashlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from b2sdk._internal.raw_simulator import FileSimulator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from b2.brain import Brain, Bucket
from b2.faults import fault_of
from b2.knobs import B2Knobs, spend
from b2.native import asked_range
from b2.sigv4 import S3Fault, plain_query, signer

UPLOADS_A_PAGE = 2
_SHOWN = {"response-content-type": "content-type", "response-content-disposition": "content-disposition"}


@dataclass
class _Upload:
    bucket: Bucket
    name: str
    content_type: str
    parts: dict[int, bytes] = field(default_factory=dict)
    begun_at: float = field(default_factory=time.time)


class S3:
    """B2's refusal of checksum headers included. `calls` are the operations, as they came."""

    def __init__(self, brain: Brain, knobs: B2Knobs, calls: list[str]) -> None:
        self._brain = brain
        self._knobs = knobs
        self._calls = calls
        self._etags: dict[str, str] = {}
        self._uploads: dict[str, _Upload] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> list[Route]:
        methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
        return [
            Route("/{bucket}", self._bucket, methods=["GET", "HEAD"]),
            Route("/{bucket}/{name:path}", self._object, methods=methods),
        ]

    async def _bucket(self, request: Request) -> Response:
        try:
            key = signer(self._brain, request, b"")
            if request.method == "HEAD":
                self._find(request, key, "listBuckets")
                return Response()
            return self._unfinished(self._find(request, key, "listFiles"), plain_query(request))
        except S3Fault as fault:
            return Response(status_code=fault.status) if request.method == "HEAD" else _refused(fault)

    def _unfinished(self, bucket: Bucket, said: dict[str, str]) -> Response:
        """Multipart uploads that were begun, in the order of their names; two a page, so that pages are followed."""
        if "uploads" not in said:
            raise S3Fault(501, "NotImplemented", "That listing is not emulated.")
        self._calls.append("s3_list_uploads")
        after = (said.get("key-marker", ""), said.get("upload-id-marker", ""))
        prefix = said.get("prefix", "")
        found = sorted(
            (one.name, upload_id)
            for upload_id, one in self._uploads.items()
            if one.bucket is bucket and one.name.startswith(prefix) and (one.name, upload_id) > after
        )
        page = found[:UPLOADS_A_PAGE]
        listed = "".join(
            f"<Upload><Key>{escape(name)}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{_iso(self._uploads[upload_id].begun_at)}</Initiated></Upload>"
            for name, upload_id in page
        )
        more = len(found) > len(page)
        last = page[-1] if more else ("", "")
        marks = (
            f"<IsTruncated>{str(more).lower()}</IsTruncated><NextKeyMarker>{escape(last[0])}</NextKeyMarker>"
            f"<NextUploadIdMarker>{last[1]}</NextUploadIdMarker>"
        )
        return _xml(f"<ListMultipartUploadsResult>{marks}{listed}</ListMultipartUploadsResult>")

    async def _object(self, request: Request) -> Response:
        content = await request.body()
        try:
            return self._answer(request, content)
        except S3Fault as fault:
            return _refused(fault)
        except Exception as error:
            known = fault_of(error)
            if known is None:
                raise
            return _xml(f"<Error><Code>{known.code}</Code></Error>", known.status)

    def _answer(self, request: Request, content: bytes) -> Response:
        key, said = signer(self._brain, request, content), plain_query(request)
        if any(name.startswith("x-amz-checksum-") for name in request.headers):
            raise S3Fault(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-*' received")
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        if request.headers.get("content-md5", digest) != digest:
            raise S3Fault(400, "BadDigest", "The Content-MD5 is not that of the body.")
        name = request.path_params["name"]
        writes = request.method in ("PUT", "POST")
        capability = "deleteFiles" if request.method == "DELETE" else "writeFiles" if writes else "readFiles"
        bucket = self._find(request, key, "writeFiles" if "uploadId" in said else capability, name)
        if writes and self._knobs.storage_full:
            raise S3Fault(403, "AccessDenied", "Cannot upload files, storage cap exceeded.")
        if request.method == "PUT" and spend(self._knobs, "busy_uploads"):
            raise S3Fault(503, "ServiceUnavailable", "Please retry your upload.")
        return self._operation(request, bucket, said, content)

    def _operation(self, request: Request, bucket: Bucket, said: dict[str, str], content: bytes) -> Response:
        name = request.path_params["name"]
        upload_id = said.get("uploadId")
        match request.method:
            case "PUT":
                return (
                    self._part(said, name, content)
                    if upload_id
                    else self._put(request, bucket, name, content)
                )
            case "POST":
                return (
                    self._complete(upload_id, name, content)
                    if upload_id
                    else self._start(request, bucket, name)
                )
            case "DELETE":
                return self._delete(bucket, name, upload_id)
            case "GET" if upload_id:
                return self._parts(upload_id, name, int(said.get("part-number-marker") or 0))
            case _:
                return self._get(request, bucket.newest(name), said)

    def _delete(self, bucket: Bucket, name: str, upload_id: str | None) -> Response:
        self._calls.append("s3_abort" if upload_id else "s3_delete")
        if upload_id:
            self._uploads.pop(upload_id, None)
        else:
            bucket.hide(name)
        return Response(status_code=204)

    def _find(self, request: Request, key: Any, capability: str, name: str | None = None) -> Bucket:
        """The bucket, if the key may do that there."""
        bucket: Bucket | None = self._brain.bucket_name_to_bucket.get(request.path_params["bucket"])
        if bucket is None:
            raise S3Fault(404, "NoSuchBucket", "The specified bucket does not exist")
        theirs = key.buckets_or_none
        elsewhere = theirs and all(one["id"] != bucket.bucket_id for one in theirs)
        prefix = key.name_prefix_or_none
        climbs = prefix is not None and name is not None and not name.startswith(prefix)
        if elsewhere or climbs or capability not in key.capabilities:
            raise S3Fault(403, "AccessDenied", "not entitled")
        return bucket

    def _put(self, request: Request, bucket: Bucket, name: str, content: bytes) -> Response:
        self._calls.append("s3_put")
        content_type = request.headers.get("content-type", "application/octet-stream")
        return Response(headers={"ETag": self._keep(bucket, name, content, content_type)})

    def _keep(self, bucket: Bucket, name: str, content: bytes, content_type: str, parts: int = 0) -> str:
        file = bucket.keep(name, content, content_type)
        self._etags[file.file_id] = f'"{_md5(content)}{f"-{parts}" if parts else ""}"'
        return self._etags[file.file_id]

    def _start(self, request: Request, bucket: Bucket, name: str) -> Response:
        self._calls.append("s3_start")
        upload_id = f"upload-{next(self._numbers)}"
        content_type = request.headers.get("content-type", "application/octet-stream")
        self._uploads[upload_id] = _Upload(bucket, name, content_type)
        said = (
            f"<Bucket>{bucket.bucket_name}</Bucket><Key>{escape(name)}</Key><UploadId>{upload_id}</UploadId>"
        )
        return _xml(f"<InitiateMultipartUploadResult>{said}</InitiateMultipartUploadResult>")

    def _part(self, said: dict[str, str], name: str, content: bytes) -> Response:
        self._calls.append("s3_part")
        upload = self._begun(said["uploadId"], name)
        upload.parts[int(said["partNumber"])] = content
        return Response(headers={"ETag": f'"{_md5(content)}"'})

    def _parts(self, upload_id: str, name: str, after: int) -> Response:
        """What came of an upload; two a page too."""
        self._calls.append("s3_list_parts")
        came = sorted(one for one in self._begun(upload_id, name).parts.items() if one[0] > after)
        page = came[:UPLOADS_A_PAGE]
        listed = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{_md5(content)}"</ETag></Part>'
            for number, content in page
        )
        more = f"<IsTruncated>{str(len(came) > len(page)).lower()}</IsTruncated>"
        last = page[-1][0] if page else 0
        marks = f"{more}<NextPartNumberMarker>{last}</NextPartNumberMarker>"
        return _xml(f"<ListPartsResult>{marks}{listed}</ListPartsResult>")

    def _complete(self, upload_id: str, name: str, content: bytes) -> Response:
        self._calls.append("s3_complete")
        upload = self._begun(upload_id, name)
        chosen = []
        for part in ET.fromstring(content).iter():
            if part.tag.rpartition("}")[2] == "Part":
                told = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
                chosen.append((int(told["PartNumber"]), told["ETag"].strip('"')))
        parts = [upload.parts.get(number, b"") for number, _ in chosen]
        if not chosen or any(_md5(one) != etag for one, (_, etag) in zip(parts, chosen, strict=True)):
            raise S3Fault(400, "InvalidPart", "A part is missing, or is another.")
        if any(len(part) < self._knobs.part_bytes for part in parts[:-1]):
            raise S3Fault(400, "EntityTooSmall", "A part is smaller than the minimum.")
        whole = b"".join(parts)
        etag = self._keep(upload.bucket, upload.name, whole, upload.content_type, len(parts))
        del self._uploads[upload_id]
        said = f"<Key>{escape(upload.name)}</Key><ETag>{escape(etag)}</ETag>"
        return _xml(f"<CompleteMultipartUploadResult>{said}</CompleteMultipartUploadResult>")

    def _begun(self, upload_id: str, name: str) -> _Upload:
        if upload_id not in self._uploads or self._uploads[upload_id].name != name:
            raise S3Fault(404, "NoSuchUpload", "There is no such upload.")
        return self._uploads[upload_id]

    def _get(self, request: Request, file: FileSimulator | None, said: dict[str, str]) -> Response:
        self._calls.append(f"s3_{request.method.lower()}")
        if file is None:
            raise S3Fault(404, "NoSuchKey", "The specified key does not exist.")
        content, span = file.data_bytes, asked_range(request, len(file.data_bytes))
        headers = {
            "content-type": file.content_type,
            "etag": self._etags.get(file.file_id, f'"{_md5(content)}"'),
            "accept-ranges": "bytes",
            **{_SHOWN[name]: value for name, value in said.items() if name in _SHOWN},
        }
        if span is None:
            return Response(content, headers=headers)
        first, last = span
        headers["content-range"] = f"bytes {first}-{last}/{len(content)}"
        return Response(content[first : last + 1], 206, headers=headers)


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


def _refused(fault: S3Fault) -> Response:
    said = f"<Code>{fault.code}</Code><Message>{escape(fault.message)}</Message>"
    return _xml(f"<Error>{said}</Error>", fault.status)


def _xml(body: str, status: int = 200) -> Response:
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}', status, media_type="application/xml")

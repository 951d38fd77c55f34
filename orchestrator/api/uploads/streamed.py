"""/v1/uploads: a file comes in as a stream, and may then stand in any `*_url` field as `upload://…`."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile

from gpulease.contract.jobs import UploadPage, UploadView
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Uploader, UploadViewer
from orchestrator.api.edge.cursors import Limit, cut, moment_of
from orchestrator.api.sight import find_upload
from orchestrator.api.views import moment
from orchestrator.fleet.agents import safe_name
from orchestrator.jobs.submit import UPLOAD_SCHEME
from orchestrator.parts import Parts
from orchestrator.store.people import Upload

CHUNK_BYTES = 1024 * 1024


router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


@router.post("", status_code=201)
async def upload(
    parts: Shared,
    request: Request,
    caller: Uploader,
    name: Annotated[str, Query(min_length=1, max_length=200)] = "upload",
) -> UploadView:
    """The file as the raw body, or as the field `file` of a multipart form. It is kept for 7 days."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        return await _from_form(parts, request, caller)
    content_type = kind.decode("latin-1") or "application/octet-stream"
    return await _keep(parts, request.stream(), name, content_type, caller)


@router.get("")
async def list_uploads(
    parts: Shared,
    caller: UploadViewer,
    cursor: str | None = None,
    limit: Limit = 50,
) -> UploadPage:
    """One's own, newest first; operators see everybody's."""
    owner = None if caller.sees_all else caller.owner
    found = await parts.store.list_uploads(owner, before=moment_of(cursor), limit=limit + 1)
    page, more = cut(found, limit, lambda one: (one.created_at, one.id))
    return UploadPage(items=tuple(upload_view(one) for one in page), next_cursor=more)


@router.get("/{upload_id}")
async def read(parts: Shared, upload_id: str, caller: UploadViewer) -> UploadView:
    return upload_view(await find_upload(parts, caller, upload_id))


@router.delete("/{upload_id}", status_code=204)
async def remove(parts: Shared, upload_id: str, caller: Uploader) -> Response:
    """Deletes the file. Jobs that name it and have not begun will fail."""
    upload = await find_upload(parts, caller, upload_id)
    await parts.store.remove_upload(upload.id, by=caller.by, now=parts.clock.now())
    await parts.storage.delete([upload.key])
    return Response(status_code=204)


async def _from_form(parts: Parts, request: Request, caller: Caller) -> UploadView:
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise invalid([FieldFault(field="file", message="send the file as the form field `file`")])
        content_type = file.content_type or "application/octet-stream"
        return await _keep(parts, _chunks(file), file.filename or "upload", content_type, caller)


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


async def _keep(
    parts: Parts, chunks: AsyncIterator[bytes], name: str, content_type: str, caller: Caller
) -> UploadView:
    upload_id = uuid4().hex
    key = f"uploads/{upload_id}/{safe_name(name)}"
    stored = await parts.storage.put_stream(key, _capped(chunks, parts.settings.upload_bytes_max))
    if stored.size_bytes == 0:
        await parts.storage.delete([key])
        raise invalid([FieldFault(field="file", message="the file is empty")])
    now = parts.clock.now()
    row = Upload(
        id=upload_id,
        owner=caller.owner,
        name=name,
        key=key,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256 or "",
        content_type=content_type,
        created_at=now,
        expires_at=now + parts.settings.retention_s,
        stored_at=now,
    )
    await parts.store.add_upload(row, by=caller.by)
    return upload_view(row)


def upload_view(row: Upload) -> UploadView:
    return UploadView(
        id=row.id,
        url=UPLOAD_SCHEME + row.id,
        name=row.name,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        content_type=row.content_type,
        created_at=moment(row.created_at),
        expires_at=moment(row.expires_at),
        stored=row.stored_at is not None,
    )


async def _capped(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > bytes_max:
            raise ProblemError(
                413, "The file is too large", f"At most {bytes_max} bytes.", type="/problems/too-large"
            )
        yield chunk

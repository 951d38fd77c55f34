"""/v1/uploads in parts: a large file goes straight to the storage, and on from where it was broken off."""

from dataclasses import replace
from uuid import uuid4

from fastapi import APIRouter

from gpulease.contract.jobs import UploadPart, UploadPlan, UploadRequest, UploadView
from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Shared, Uploader
from orchestrator.api.sight import find_upload
from orchestrator.api.uploads.streamed import upload_view
from orchestrator.fleet.agents import safe_name
from orchestrator.parts import Parts
from orchestrator.storage.protocol import PartedUpload, UploadGone
from orchestrator.store.people import Upload

URL_S = 86_400.0
router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


@router.post("/parts", status_code=201)
async def begin(parts: Shared, body: UploadRequest, caller: Uploader) -> UploadPlan:
    """Says what to PUT where; then `complete` it. The URLs hold for a day."""
    if body.size_bytes > (most := parts.settings.upload_bytes_max):
        raise ProblemError(413, "The file is too large", f"At most {most} bytes.", type="/problems/too-large")
    now, upload_id = parts.clock.now(), uuid4().hex
    upload = Upload(
        id=upload_id,
        owner=caller.owner,
        name=body.name,
        key=f"uploads/{upload_id}/{safe_name(body.name)}",
        size_bytes=body.size_bytes,
        sha256="",
        content_type=body.content_type,
        created_at=now,
        expires_at=now + parts.settings.retention_s,
    )
    begun = await parts.storage.start_parts(
        upload.key, size_bytes=upload.size_bytes, content_type=upload.content_type, expires_s=URL_S
    )
    upload = replace(upload, parts_id=begun.upload_id if begun else None)
    await parts.store.add_upload(upload, by=caller.by)
    return await _plan(parts, upload, begun)


@router.get("/{upload_id}/parts")
async def resume(parts: Shared, upload_id: str, caller: Uploader) -> UploadPlan:
    """The same with fresh URLs, and which parts are there already."""
    upload = await find_upload(parts, caller, upload_id)
    if upload.stored_at is not None:
        return UploadPlan(upload=upload_view(upload), parts=())
    begun = await _begun(parts, upload, upload.parts_id) if upload.parts_id else None
    return await _plan(parts, upload, begun)


@router.post("/{upload_id}/complete")
async def complete(parts: Shared, upload_id: str, caller: Uploader) -> UploadView:
    """Makes the file of its parts. Repeating it does no harm; 409 names the parts that have not come."""
    upload = await find_upload(parts, caller, upload_id)
    if upload.stored_at is not None:
        return upload_view(upload)
    if upload.parts_id is not None:
        await _join(parts, upload, upload.parts_id)
    stored = await parts.storage.stat(upload.key)
    if stored is None or stored.size_bytes != upload.size_bytes:
        raise _incomplete(f"PUT all of its {upload.size_bytes} bytes first.")
    done = await parts.store.finish_upload(
        upload.id,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256 or "",
        now=parts.clock.now(),
        by=caller.by,
    )
    return upload_view(done or upload)


async def _join(parts: Parts, upload: Upload, parts_id: str) -> None:
    if await parts.storage.stat(upload.key) is not None:
        return  # It was joined before, and only the reply or the row was lost.
    begun = await _begun(parts, upload, parts_id)
    etags = [etag for etag in begun.etags if etag is not None]
    if len(etags) < len(begun.urls):
        missing = [str(number) for number, etag in enumerate(begun.etags, start=1) if etag is None]
        raise _incomplete(f"These parts have not come: {', '.join(missing[:20])}.")
    try:
        await parts.storage.complete_parts(upload.key, begun.upload_id, etags)
    except UploadGone as error:
        raise _gone() from error


async def _begun(parts: Parts, upload: Upload, parts_id: str) -> PartedUpload:
    try:
        return await parts.storage.resume_parts(
            upload.key, parts_id, size_bytes=upload.size_bytes, expires_s=URL_S
        )
    except UploadGone as error:
        raise _gone() from error


async def _plan(parts: Parts, upload: Upload, begun: PartedUpload | None) -> UploadPlan:
    if begun is None:
        url, headers = await parts.storage.presign_put(
            upload.key, size_bytes=upload.size_bytes, content_type=upload.content_type, expires_s=URL_S
        )
        whole = UploadPart(number=1, offset=0, size_bytes=upload.size_bytes, url=url, headers=headers)
        return UploadPlan(upload=upload_view(upload), parts=(whole,))
    etags = begun.etags or (None,) * len(begun.urls)
    starts = range(0, upload.size_bytes, begun.part_bytes)
    listed = enumerate(zip(begun.urls, etags, starts, strict=True), start=1)
    return UploadPlan(
        upload=upload_view(upload),
        parts=tuple(
            UploadPart(
                number=number,
                offset=start,
                size_bytes=min(begun.part_bytes, upload.size_bytes - start),
                url=url,
                stored=etag is not None,
            )
            for number, (url, etag, start) in listed
        ),
    )


def _incomplete(detail: str) -> ProblemError:
    return ProblemError(409, "The upload is not complete", detail, type="/problems/incomplete")


def _gone() -> ProblemError:
    detail = "It was not completed in time, or was given up; begin a new one."
    return ProblemError(410, "This upload is gone", detail, type="/problems/gone")

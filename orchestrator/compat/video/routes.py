"""`/jobs`, `/jobs/{id}`, `/jobs/{id}/result`, `/download/{id}`: docs/compat/video.md."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from gpulease.contract.jobs import OutputFile
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.api.sight import asked, find_job, sight
from orchestrator.compat.surface import refusing
from orchestrator.compat.video.bodies import Film
from orchestrator.compat.video.words import (
    FilmJob,
    FilmPage,
    FilmUrl,
    Link,
    Refused,
    error_of,
    film_job,
    film_of,
    refuse,
    status_of,
    url_of,
)
from orchestrator.jobs.submit import not_found
from orchestrator.parts import Parts
from orchestrator.storage.routes import HEADERS
from orchestrator.store.rows import Job, JobFilter

ENGINE = "video"
DOWNLOAD_S = 3600
OFFSET_MAX = 1_000
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
Accept = Annotated[str, Header(description="`video/mp4` for the film itself.")]
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refused, "description": "What is wrong with the request."},
    "5XX": {"model": Refused, "description": "What is wrong here; trying again later may help."},
}
FILM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Where the film is; or the film itself, to those who accept `video/mp4`.",
        "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
    },
}
router = APIRouter(tags=["video API"], route_class=refusing(refuse), responses=REFUSALS)


@router.post("/jobs")
async def submit(parts: Shared, body: Film, caller: Submitter, key: Key = None) -> FilmJob:
    """Queues a film."""
    submitted = await parts.submitter.submit(body.request(), await asked(parts, caller, key))
    return await film_job(parts, submitted.job)


@router.get("/jobs")
async def list_jobs(
    parts: Shared,
    caller: Viewer,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str | None, Query(max_length=64, description="`next_cursor` of the page before.")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX, description="How many to skip.")] = 0,
) -> FilmPage:
    """Newest first."""
    which = JobFilter(engine=ENGINE, seen_by=await sight(parts, caller))
    before = await _place(parts, caller, cursor) if cursor else None
    jobs = (await parts.store.list_jobs(which, before=before, limit=offset + limit + 1))[offset:]
    page = jobs[:limit]
    items = [await film_job(parts, job, whole=False) for job in page]
    return FilmPage(items=items, next_cursor=page[-1].id if len(jobs) > limit else None)


@router.get("/jobs/{job_id}")
async def read(parts: Shared, job_id: str, caller: Viewer) -> FilmJob:
    return await film_job(parts, await _find(parts, caller, job_id))


@router.get("/jobs/{job_id}/result", response_model=FilmUrl, responses={**REFUSALS, **FILM})
async def result(parts: Shared, job_id: str, caller: Viewer, accept: Accept = "*/*") -> FilmUrl | Response:
    """Where the film is, by a URL that whoever has it may open; or with `Accept: video/mp4` the film itself. 409 until
    there is one, or where there is none.
    """
    job = await _find(parts, caller, job_id)
    film = film_of(job)
    expires_s = parts.settings.url_expires_s
    url = await url_of(parts, job, expires_s)
    if film is None or url is None:
        raise _no_film(job)
    if "video/" in accept:
        return await _film(parts, film)
    return FilmUrl(
        id=job.id,
        job_id=job.id,
        status=status_of(job),
        url=url,
        result_url=url,
        expires_in=round(expires_s),
    )


@router.get("/download/{job_id}")
async def download(parts: Shared, job_id: str, caller: Viewer) -> Link:
    """A URL of the film, for an hour."""
    url = await url_of(parts, await _find(parts, caller, job_id), DOWNLOAD_S)
    if url is None:
        raise _no_artifact()
    return Link(url=url)


async def _film(parts: Parts, film: OutputFile) -> Response:
    stored = await parts.storage.stat(film.key)
    if stored is None:
        raise _no_artifact()
    headers = {
        **HEADERS,
        "Content-Length": str(stored.size_bytes),
        "Content-Disposition": f'inline; filename="{ENGINE}.mp4"',
    }
    return StreamingResponse(parts.storage.read_stream(film.key), media_type="video/mp4", headers=headers)


async def _find(parts: Parts, caller: Caller, job_id: str) -> Job:
    """Jobs of other engines are none of this surface."""
    job = await find_job(parts, caller, job_id)
    if job.need.engine != ENGINE:
        raise not_found(job_id)
    return job


async def _place(parts: Parts, caller: Caller, cursor: str) -> tuple[float, str]:
    """Where the page before ended: its last job. It may be gone meanwhile."""
    try:
        job = await _find(parts, caller, cursor)
    except ProblemError:
        fault = FieldFault(field="cursor", message="use the next_cursor of the page before; or begin anew")
        raise invalid([fault]) from None
    return job.created_at, job.id


def _no_artifact() -> ProblemError:
    return ProblemError(404, "no artifact", "no artifact")


def _no_film(job: Job) -> ProblemError:
    word = status_of(job)
    why = f": {error_of(job)}" if word == "failed" else ""
    return ProblemError(409, "no result", f"The job is {word}{why}")

"""Jobs and refusals in the words of the video API."""

import json
from datetime import datetime
from typing import Any, Literal

from fastapi.responses import Response
from pydantic import BaseModel, Field

from gpulease.contract.jobs import OutputFile
from gpulease.contract.problems import Problem
from orchestrator.api.views import full_view, moment
from orchestrator.parts import Parts
from orchestrator.store.rows import Job
from scaling.states import JobState

Status = Literal["pending", "processing", "completed", "failed"]
UNKNOWN = "unknown job"
IN_QUERY = ("limit", "cursor", "offset")
_WORDS: dict[JobState, Status] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.TIMED_OUT: "failed",
    JobState.EXPIRED: "failed",
}


class FilmJob(BaseModel):
    """`progress` is in percent; `result_url` is there once it is completed; `reason` says what a pending job waits
    for. `id` and `job_id` are the same.
    """

    id: str
    job_id: str
    status: Status
    progress: int = Field(default=0, ge=0, le=100)
    message: str | None = None
    error: str | None = None
    result_url: str | None = None
    reason: str | None = None
    prompt: str
    queue: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class FilmPage(BaseModel):
    """Newest first. `next_cursor` is null on the last page."""

    items: list[FilmJob]
    next_cursor: str | None = None


class FilmUrl(BaseModel):
    """`url` and `result_url` are the same; it opens for `expires_in` seconds."""

    id: str
    job_id: str
    status: Status
    url: str
    result_url: str
    expires_in: int


class Link(BaseModel):
    url: str


class Refused(BaseModel):
    """A sentence; of fields that are wrong, one object each, with `loc`, `msg` and `type`."""

    detail: str | list[dict[str, Any]]


def status_of(job: Job) -> Status:
    return _WORDS[job.state]


def film_of(job: Job) -> OutputFile | None:
    """Its result's video, which comes first where none says that it is one."""
    files = job.result.files if job.result else ()
    return next((file for file in files if file.content_type.startswith("video/")), next(iter(files), None))


async def film_job(parts: Parts, job: Job, *, whole: bool = True) -> FilmJob:
    """Of a listing's rows what is not in the job's own row is left out: how far it is, and why it waits."""
    status = status_of(job)
    shown = await full_view(parts, job) if whole and job.finished_at is None else None
    done = 1.0 if status == "completed" else (shown and shown.progress) or 0.0
    return FilmJob(
        id=job.id,
        job_id=job.id,
        status=status,
        progress=round(100 * done),
        message=shown.message if shown else None,
        error=error_of(job) if status == "failed" else None,
        result_url=await url_of(parts, job, parts.settings.url_expires_s),
        reason=shown.blocked if shown else None,
        prompt=str(job.input.get("prompt", "")),
        queue=job.need.queue,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
    )


def error_of(job: Job) -> str:
    return job.fault.message if job.fault else f"The job {job.state.replace('_', ' ')}."


async def url_of(parts: Parts, job: Job, expires_s: float) -> str | None:
    """None while there is no video."""
    film = film_of(job)
    if film is None:
        return None
    return await parts.storage.presign_get(film.key, expires_s=expires_s, filename=film.name)


def refuse(problem: Problem) -> Response:
    """`{"detail": …}`: a sentence, or a list of the fields that are wrong."""
    if problem.errors:
        faults = [_fault(one.field.removeprefix("input."), one.message) for one in problem.errors]
        return _reply(faults, problem.status)
    if problem.type == "/problems/not-found":
        return _reply(UNKNOWN, problem.status)
    return _reply(problem.detail or problem.title, problem.status)


def _fault(field: str, message: str) -> dict[str, Any]:
    where = "query" if field in IN_QUERY else "body"
    names = [] if field == where else field.split(".")
    kind = "missing" if message == "Field required" else "value_error"
    return {"type": kind, "loc": [where, *names], "msg": message}


def _reply(detail: object, status: int) -> Response:
    """In ASCII, since a message may quote what nobody can encode."""
    return Response(json.dumps({"detail": detail}), status, media_type="application/json")

"""`/csm`, `/whisper`, `/portrait`, `/analyze`, `/status`, `/result`, `/job`: docs/compat/render.md."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response

from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.api.sight import asked, find_job
from orchestrator.compat.render.bodies import Analyze, Csm, Marked, Portrait, Submit, Whisper
from orchestrator.compat.render.words import (
    BY_CLIENT,
    Accepted,
    MarkReply,
    Refused,
    ResultReply,
    StatusReply,
    error_of,
    refuse,
    reply,
    result_reply,
    status_of,
    status_reply,
)
from orchestrator.compat.surface import refusing
from orchestrator.parts import Parts
from orchestrator.store.rows import Job

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refused, "description": "What is wrong with the request."},
    "5XX": {"model": Refused, "description": "What is wrong here; trying again later may help."},
}
router = APIRouter(tags=["render API"], route_class=refusing(refuse), responses=REFUSALS)


@router.post("/csm")
async def csm(parts: Shared, body: Csm, caller: Submitter, key: Key = None) -> Accepted:
    """Speech from a text, or from sentences with pauses between them."""
    return await _queue(parts, body, caller, key)


@router.post("/whisper")
async def whisper(parts: Shared, body: Whisper, caller: Submitter, key: Key = None) -> Accepted:
    """Text from speech."""
    return await _queue(parts, body, caller, key)


@router.post("/portrait")
async def portrait(parts: Shared, body: Portrait, caller: Submitter, key: Key = None) -> Accepted:
    """A face and a voice to a talking portrait."""
    return await _queue(parts, body, caller, key)


@router.post("/analyze")
async def analyze(parts: Shared, body: Analyze, caller: Submitter, key: Key = None) -> Accepted:
    """An image, in words."""
    return await _queue(parts, body, caller, key)


@router.get("/status/{job_id}", response_model_exclude_none=True)
async def status(parts: Shared, job_id: str, caller: Viewer) -> StatusReply:
    return await status_reply(parts, await find_job(parts, caller, _id(job_id)))


@router.get("/result/{job_id}", response_model=ResultReply, response_model_exclude_none=True)
async def result(parts: Shared, job_id: str, caller: Viewer) -> ResultReply | Response:
    """The text, or a URL of the file, which holds for 7 days unless the server says less. 400 until the job ends."""
    job = await find_job(parts, caller, _id(job_id))
    found = await result_reply(parts, job)
    return found or _no_result(job)


@router.post("/job/{job_id}", response_model_exclude_none=True)
async def mark(parts: Shared, job_id: str, body: Marked, caller: Submitter) -> MarkReply:
    """Ends a job as its client says, and stops its attempt. A job that has ended already stays as it is; its data
    may be removed all the same.
    """
    job = await find_job(parts, caller, _id(job_id), right="write")
    reason = body.error or f"Job marked as {body.status} by its client"
    ended = await parts.remover.end(job.id, by=caller.by, reason=reason, code=BY_CLIENT + body.status)
    if body.remove_data:
        await parts.remover.remove(job.id, by=caller.by)
    return _marked(ended or job, body)


async def _queue(parts: Parts, body: Submit, caller: Caller, key: str | None) -> Accepted:
    submitted = await parts.submitter.submit(body.request(), await asked(parts, caller, key))
    return Accepted(id=submitted.job.id, status=status_of(submitted.job))


def _marked(job: Job, body: Marked) -> MarkReply:
    if job.fault is not None and job.fault.code == BY_CLIENT + body.status:
        return MarkReply(message=f"Job {job.id} marked as {body.status}")
    stays = "its data is removed" if body.remove_data else "it stays so"
    word = status_of(job)
    return MarkReply(message=f"Job {job.id} had ended before, with status {word}; {stays}", status=word)


def _no_result(job: Job) -> Response:
    ended = job.finished_at is not None
    said = error_of(job) if ended else "Job has not completed yet"
    return reply({"error": said, "id": job.id, "status": status_of(job)}, 400)


def _id(job_id: str) -> str:
    try:
        return str(UUID(job_id))
    except ValueError:
        detail = "Invalid job ID format"
        raise ProblemError(400, detail, detail) from None

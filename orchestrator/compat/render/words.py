"""Jobs and refusals in the words of the render API."""

import json
from typing import Any, Literal

from fastapi.responses import Response
from pydantic import BaseModel

from gpulease.contract.problems import FieldFault, Problem
from orchestrator.api.views import full_view, moment, signed
from orchestrator.parts import Parts
from orchestrator.store.rows import Job
from scaling.states import JobState

Status = Literal["queued", "running", "success", "failed", "timed_out", "cancelled"]
MISSING = "Field required"
"""What pydantic says of a field that was left out."""
BY_CLIENT = "client."
"""How the codes begin of jobs that clients ended by `POST /job/{id}`."""
_WORDS: dict[JobState, Status] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "success",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.TIMED_OUT: "failed",
    JobState.EXPIRED: "failed",
}
_MARKS: dict[str, Status] = {"client.timed_out": "timed_out", "client.cancelled": "cancelled"}


class Accepted(BaseModel):
    id: str
    status: Status


class StatusReply(BaseModel):
    """`error` says why it failed; `reason`, which is ours, what a queued job waits for."""

    id: str
    status: Status
    error: str | None = None
    reason: str | None = None


class ResultReply(BaseModel):
    """`text` or `result_url` of a success, `error` of a failure."""

    id: str
    status: Status
    text: str | None = None
    result_url: str | None = None
    error: str | None = None


class MarkReply(BaseModel):
    """`status` is there where the job had ended before, and tells how."""

    message: str
    status: Status | None = None


class Refused(BaseModel):
    """`errors` says the same by field, where fields are wrong."""

    error: str
    errors: dict[str, str] | None = None
    status: Status | None = None


def status_of(job: Job) -> Status:
    """A client's own mark is shown as it was set; other ends without a result are failures."""
    mark = _MARKS.get(job.fault.code) if job.fault else None
    return mark or _WORDS[job.state]


def error_of(job: Job) -> str:
    if job.state is JobState.EXPIRED and (job.finished_at or 0.0) >= job.complete_by:
        return "Job expired before processing could begin"
    if job.state is JobState.TIMED_OUT:
        return _overrun(job)
    return job.fault.message if job.fault else f"Job {job.state}"


def _overrun(job: Job) -> str:
    if (job.finished_at or 0.0) < job.complete_by:
        return f"Job exceeded maximum runtime of {job.max_time_s:.0f} seconds"
    begun, end = moment(job.created_at), moment(job.complete_by)
    return f"Job exceeded completion deadline (created_at: {begun:%FT%TZ}, complete_by: {end:%FT%TZ})"


async def status_reply(parts: Parts, job: Job) -> StatusReply:
    error = error_of(job) if job.finished_at is not None and job.state is not JobState.SUCCEEDED else None
    reason = (await full_view(parts, job)).blocked if job.state is JobState.QUEUED else None
    return StatusReply(id=job.id, status=status_of(job), error=error, reason=reason)


async def result_reply(parts: Parts, job: Job) -> ResultReply | None:
    """None while there is neither a result nor a failure."""
    status = status_of(job)
    if status == "failed":
        return ResultReply(id=job.id, status=status, error=error_of(job))
    if status != "success" or job.result is None:
        return None
    if job.result.text is not None:
        return ResultReply(id=job.id, status=status, text=job.result.text)
    files = (await signed(parts, job.result)).files
    return ResultReply(id=job.id, status=status, result_url=files[0].url if files else None)


def refuse(problem: Problem) -> Response:
    """`{"error": …}`; wrong fields are a 400 there."""
    if problem.errors:
        faults = dict(_fault(one) for one in problem.errors)
        said = "; ".join(_said(name, text) for name, text in faults.items())
        return reply({"error": said, "errors": faults}, 400 if problem.status == 422 else problem.status)
    if problem.status == 404:
        return reply({"error": "Job not found"}, 404)
    return reply({"error": problem.detail or problem.title}, problem.status)


def _said(name: str, text: str) -> str:
    return text if name == "body" or text.endswith(f": {name}") else f"{name}: {text}"


def _fault(fault: FieldFault) -> tuple[str, str]:
    name = fault.field.removeprefix("input.")
    if name == "body" and (fault.message == MISSING or fault.message.startswith("Input should be")):
        return name, "Send a JSON object as the body"
    return name, f"Missing required field: {name}" if fault.message == MISSING else fault.message


def reply(body: dict[str, Any], status: int) -> Response:
    """In ASCII, since a message may quote what nobody can encode."""
    return Response(json.dumps(body), status, media_type="application/json")

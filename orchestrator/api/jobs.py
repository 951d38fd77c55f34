"""/v1/jobs: submit, read, list, cancel, retry, remove."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse

from gpulease.contract.jobs import (
    BatchItem,
    BatchReply,
    BatchRequest,
    JobPage,
    JobRequest,
    JobView,
    Result,
    Status,
)
from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.api.edge.cursors import ROW_MAX, Limit, cut, moment_of
from orchestrator.api.sight import asked, find_job, sight
from orchestrator.api.views import full_view, job_view, signed
from orchestrator.jobs.submit import conflict, not_found, parse
from orchestrator.parts import Parts
from orchestrator.store.rows import Job, JobFilter, NewJob, Submitted
from scaling.states import TERMINAL_JOBS, JobState

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
JSON = "application/json"


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=202, response_model=JobView)
async def submit(parts: Shared, body: JobRequest, caller: Submitter, key: Key = None) -> Response:
    """Queues a job. Repeated with the same `Idempotency-Key`, it answers with the same job."""
    submitted = await parts.submitter.submit(body, await asked(parts, caller, key))
    return _accepted(submitted.job)


@router.post("/batch", status_code=202, response_model=BatchReply)
async def submit_batch(parts: Shared, body: BatchRequest, caller: Submitter, key: Key = None) -> Response:
    """Queues up to 1,000 jobs in one transaction; each row of the reply is a job or a problem."""
    items = await _batch(parts, body, caller, key)
    return Response(BatchReply(items=items).model_dump_json(), 202, media_type=JSON)


@router.get("")
async def list_jobs(
    parts: Shared,
    caller: Viewer,
    status: Status | None = None,
    engine: str | None = None,
    project: str | None = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> JobPage:
    """Newest first. `next_cursor` is absent on the last page."""
    state = JobState(status) if status else None
    which = JobFilter(state=state, engine=engine, project=project, seen_by=await sight(parts, caller))
    jobs = await parts.store.list_jobs(which, before=moment_of(cursor), limit=limit + 1)
    page, more = cut(jobs, limit, lambda one: (one.created_at, one.id))
    return JobPage(items=tuple(job_view(job, result=job.result) for job in page), next_cursor=more)


@router.get("/{job_id}")
async def read(parts: Shared, job_id: str, caller: Viewer) -> JobView:
    return await full_view(parts, await find_job(parts, caller, job_id))


@router.get("/{job_id}/result")
async def result(parts: Shared, job_id: str, caller: Viewer) -> Result:
    """What the winning attempt made, with signed URLs. 409 until there is one, or when there is none."""
    job = await find_job(parts, caller, job_id)
    if job.result is None:
        raise _no_result(job)
    return await signed(parts, job.result)


@router.get("/{job_id}/logs", response_class=PlainTextResponse)
async def logs(
    parts: Shared,
    job_id: str,
    caller: Viewer,
    attempt: Annotated[
        int | None, Query(ge=1, le=ROW_MAX, description="Its number; the latest by default.")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=ROW_MAX, description="In bytes.")] = 0,
) -> Response:
    """What the engine printed, from a byte offset; `X-Next-Offset` is where to go on."""
    job = await find_job(parts, caller, job_id)
    text = await parts.agents.logs.read(job_id, attempt or job.attempts, offset)
    headers = {"X-Next-Offset": str(offset + len(text))}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@router.post("/{job_id}/cancel")
async def cancel(parts: Shared, job_id: str, caller: Submitter) -> JobView:
    """Ends a queued or running job. A job that has ended already stays as it is."""
    await find_job(parts, caller, job_id, right="write")
    job = await parts.remover.end(job_id, by=caller.by)
    if job is None:
        raise not_found(job_id)
    return await full_view(parts, job)


@router.post("/{job_id}/retry", status_code=202, response_model=JobView)
async def retry(parts: Shared, job_id: str, caller: Submitter, key: Key = None) -> Response:
    """Submits the same request again, as a new job with `retry_of`."""
    old = await find_job(parts, caller, job_id, right="write")
    return _accepted((await parts.submitter.retry(old, await asked(parts, caller, key))).job)


@router.delete("/{job_id}", status_code=204)
async def remove(parts: Shared, job_id: str, caller: Submitter) -> Response:
    """Ends the job if it has not ended, and removes it with its files, logs and webhooks."""
    await find_job(parts, caller, job_id, right="write")
    await parts.remover.remove(job_id, by=caller.by)
    return Response(status_code=204)


async def _batch(parts: Parts, body: BatchRequest, caller: Caller, key: str | None) -> tuple[BatchItem, ...]:
    items: dict[int, BatchItem] = {}
    who = await asked(parts, caller)
    jobs: dict[int, NewJob] = {}
    for index, one in enumerate(body.jobs):
        try:
            request = parse(JobRequest, one)
            one_of = replace(who, key=f"{key}/{index}" if key else None)
            jobs[index] = await parts.submitter.prepare(request, one_of)
        except ProblemError as error:
            items[index] = BatchItem(index=index, problem=error.problem.model_dump(exclude_none=True))
    submitted = await parts.submitter.submit_all(list(jobs.values()), who) if jobs else []
    for index, done in zip(jobs, submitted, strict=True):
        items[index] = _batch_item(index, done, key)
    return tuple(items[index] for index in sorted(items))


def _batch_item(index: int, submitted: Submitted, key: str | None) -> BatchItem:
    if submitted.conflict:
        problem = conflict(f"{key}/{index}").problem
        return BatchItem(index=index, problem=problem.model_dump(exclude_none=True))
    return BatchItem(index=index, job=job_view(submitted.job))


def _accepted(job: Job) -> Response:
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return Response(job_view(job).model_dump_json(), 202, headers=headers, media_type=JSON)


def _no_result(job: Job) -> ProblemError:
    if job.state in TERMINAL_JOBS:
        detail = job.fault.message if job.fault else f"The job is {job.state}."
        return ProblemError(409, f"The job {job.state.replace('_', ' ')}", detail, type="/problems/no-result")
    return ProblemError(
        409, "The job has not ended", "Follow /events, or ask again later.", type="/problems/not-ended"
    )


def wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")

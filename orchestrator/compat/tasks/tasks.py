"""/api/render/tasks and its kin: submit, look, list, cancel, fetch the picture."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.api.sight import asked, find_job
from orchestrator.compat.surface import refusing
from orchestrator.compat.tasks.bodies import NewTask, TaskError, TaskNamed
from orchestrator.compat.tasks.listing import TaskPage, Wanted, list_tasks
from orchestrator.compat.tasks.models import in_their_names, job_of
from orchestrator.compat.tasks.words import (
    REFUSALS,
    Answer,
    Created,
    Refused,
    Task,
    millis,
    pictures,
    refuse,
    status_of,
    task,
)
from orchestrator.parts import Parts
from orchestrator.store.rows import Job
from scaling.states import TERMINAL_JOBS, JobState

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
TaskId = Annotated[str, Path(max_length=100)]
router = APIRouter(tags=["task orchestration"], route_class=refusing(refuse), responses=REFUSALS)


class Said(BaseModel):
    message: str


class PictureUrl(BaseModel):
    success: bool = True
    url: str


@router.post("/api/render/tasks")
async def create(parts: Shared, body: NewTask, caller: Submitter, key: Key = None) -> Answer[Created]:
    """Renders every camera of a model of the project, with some materials replaced."""
    who = await asked(parts, caller, key)
    try:
        job = (await parts.submitter.submit(await job_of(parts, caller, body), who)).job
    except ProblemError as error:
        raise in_their_names(error) from error
    made = Created(taskId=job.id, status=status_of(job), createdAt=millis(job.created_at))
    return Answer(data=made)


@router.get("/api/render/tasks_list")
async def list_render_tasks(
    parts: Shared, caller: Viewer, wanted: Annotated[Wanted, Query()]
) -> Answer[TaskPage]:
    """Newest first. `total` counts at most 1,000 beyond the page."""
    return Answer(data=await list_tasks(parts, caller, wanted))


@router.get("/api/tasks_list")
async def list_all_tasks(
    parts: Shared, caller: Viewer, wanted: Annotated[Wanted, Query()]
) -> Answer[TaskPage]:
    """The same."""
    return Answer(data=await list_tasks(parts, caller, wanted))


@router.get("/api/tasks/{task_id}/status")
async def status(parts: Shared, caller: Viewer, task_id: TaskId) -> Answer[Task]:
    """How far it is, 0 to 100, and what it made."""
    return Answer(data=await task(parts, await find_job(parts, caller, task_id)))


@router.get("/api/render/tasks/{task_id}")
async def read(parts: Shared, caller: Viewer, task_id: TaskId) -> Answer[Task]:
    """The same."""
    return Answer(data=await task(parts, await find_job(parts, caller, task_id)))


@router.post("/api/render/tasks/{task_id}/cancel")
async def cancel(parts: Shared, caller: Submitter, task_id: TaskId) -> Answer[Said]:
    """Ends a task that waits or runs."""
    return await _end(parts, caller, task_id, "cancelled by its client", "client.cancelled")


@router.post("/api/render/terminate")
async def terminate(parts: Shared, caller: Submitter, body: TaskNamed) -> Answer[Said]:
    """The same, with the id in the body."""
    return await _end(parts, caller, body.taskId, "terminated by its client", "client.cancelled")


@router.post("/api/logs/error-callback")
async def report_error(parts: Shared, caller: Submitter, body: TaskError) -> Answer[Said]:
    """Somebody who watches the render says that it failed: the task ends with that error."""
    return await _end(parts, caller, body.taskId, body.error, "client.failed")


@router.post("/api/render/client-callback")
async def call_back(parts: Shared, caller: Submitter, body: TaskNamed) -> Answer[Said]:
    """Tells the client again how a task ended. The first time it is told without being asked."""
    job = await find_job(parts, caller, body.taskId, right="write")
    if job.state not in TERMINAL_JOBS:
        raise ProblemError(409, "The task has not ended", "Its client is told when it ends.")
    deliveries = await parts.store.list_deliveries(job.id)
    if not deliveries:
        raise ProblemError(409, "Nobody is to be told", "The task and its project have no callbackUrl.")
    await parts.store.replay_delivery(deliveries[-1].id, by=caller.by, now=parts.clock.now())
    parts.loops.nudge("webhooks")
    return Answer(data=Said(message="The client is told again."))


@router.get(
    "/api/resource/img/{task_id}",
    response_model=PictureUrl,
    responses={302: {"description": "To the picture, for who accepts images."}, 409: {"model": Refused}},
)
async def picture(
    parts: Shared,
    caller: Viewer,
    request: Request,
    task_id: TaskId,
    camera: Annotated[int, Query(ge=0, le=9_999, description="Its place among the cameras by name.")] = 0,
) -> PictureUrl | Response:
    """Where the first picture is. Who accepts images, as a browser's `<img>` does, is sent there."""
    job = await find_job(parts, caller, task_id)
    made = await pictures(parts, job)
    if camera >= len(made):
        raise _no_picture(job, len(made))
    url = made[camera].url or ""
    if "image/" in request.headers.get("accept", ""):
        return RedirectResponse(url, 302)
    return PictureUrl(url=url)


async def _end(parts: Parts, caller: Caller, task_id: str, reason: str, code: str) -> Answer[Said]:
    """Raises a 409 for a task that had ended otherwise before."""
    job = await find_job(parts, caller, task_id, right="write")
    ended = await parts.remover.end(job.id, by=caller.by, reason=reason, code=code) or job
    if ended.fault is None or ended.fault.code != code:
        raise ProblemError(409, "The task has ended already", f"It is {status_of(ended)}; it stays so.")
    return Answer(data=Said(message="The task is ended."))


def _no_picture(job: Job, count: int) -> ProblemError:
    if job.state is JobState.SUCCEEDED:
        return ProblemError(404, "There is no such picture", f"The task made {count} pictures.")
    detail = job.fault.message if job.fault else f"The task is {status_of(job)}."
    return ProblemError(409, "There is no picture", detail)

"""`/renderapi/v1/*`: docs/compat/farm.md. Errors are JSON in the form of each route's reply."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from gpulease.contract.problems import Problem, ProblemError
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.compat.farm import tasks
from orchestrator.compat.farm.archive import ZIP, archive_of
from orchestrator.compat.farm.bodies import (
    Body,
    DeleteReply,
    DequeueReply,
    DownloadReply,
    EnqueueReply,
    EnqueueRequest,
    InfoReply,
    Refused,
    TaskRequest,
)
from orchestrator.compat.farm.engines import Farm
from orchestrator.compat.farm.enqueue import enqueue as take_in
from orchestrator.compat.surface import in_words, refusing
from orchestrator.store.rows import Purged

BAD_REQUEST, UNPROCESSABLE = 400, 422
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["request", "file"],
                    "properties": {
                        "request": {"type": "string", "description": EnqueueRequest.__doc__},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


async def _farm(request: Request) -> Farm:
    farm = request.app.state.farm
    assert isinstance(farm, Farm)  # noqa: S101  Set once, where the router is included.
    return farm


Engines = Annotated[Farm, Depends(_farm)]


def _router(model: type[Body], refused: Callable[[str], Body]) -> APIRouter:
    """One route whose errors look like its replies. Fields that are wrong are 400 here, as the farm says it."""

    def refuse(problem: Problem) -> Response:
        status = BAD_REQUEST if problem.status == UNPROCESSABLE else problem.status
        body = refused(in_words(problem)).model_dump_json(by_alias=True, ensure_ascii=True)
        return Response(body, status, media_type="application/json")

    said: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": "What is wrong, in words."} for status in ("4XX", "5XX")
    }
    return APIRouter(route_class=refusing(refuse), responses=said)


_info = _router(Refused, lambda words: Refused(error_message=words))
_enqueue = _router(EnqueueReply, lambda words: EnqueueReply(is_added=False, error_message=words))
_dequeue = _router(DequeueReply, lambda words: DequeueReply(is_removed=False, error_message=words))
_download = _router(DownloadReply, lambda words: DownloadReply(download_provided=False, error_message=words))
_delete = _router(DeleteReply, lambda words: DeleteReply(is_deleted=False, error_message=words))


@_info.get("/info")
async def info(parts: Shared, farm: Engines, caller: Viewer) -> InfoReply:
    """Who calls, and their last 15 tasks."""
    return await tasks.info(parts, farm, caller.user)


@_enqueue.post("/enqueue", openapi_extra=FORM)
async def enqueue(parts: Shared, farm: Engines, caller: Submitter, request: Request) -> EnqueueReply:
    """A project file and what is to be done with it; the file is stored as it comes in."""
    await take_in(parts, caller, farm, request)
    return EnqueueReply(is_added=True, error_message="Task successfully enqueued.")


@_dequeue.post("/dequeue")
async def dequeue(parts: Shared, body: TaskRequest, caller: Submitter) -> DequeueReply:
    """Ends a task that waits or runs."""
    job = await tasks.find_task(parts, caller, body.task_id, right="write")
    if job.finished_at is not None:
        detail = f"Task with identifier {body.task_id} is not in the queue."
        raise ProblemError(409, "The task has ended", detail, type="/problems/ended")
    await parts.remover.end(job.id, by=caller.by, reason="dequeued by its client", code="client.cancelled")
    return DequeueReply(is_removed=True, error_message="Task successfully dequeued.")


@_download.post(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {ZIP: {}}, "description": "A ZIP."}},
)
async def download(parts: Shared, body: TaskRequest, caller: Viewer) -> StreamingResponse:
    """All files of the task's result."""
    job = await tasks.find_task(parts, caller, body.task_id)
    archive = await archive_of(parts.storage, job)
    headers = {
        "Content-Length": str(archive.size_bytes),
        "Content-Disposition": f"attachment; filename={body.task_id}.zip",
    }
    return StreamingResponse(archive.pieces, media_type=ZIP, headers=headers)


@_delete.post("/delete")
async def delete(parts: Shared, body: TaskRequest, caller: Submitter) -> DeleteReply:
    """Removes a task with its project file, its result and its log; one that runs is ended first."""
    job = await tasks.find_task(parts, caller, body.task_id, right="write")
    await parts.remover.remove(job.id, by=caller.by)
    if upload_id := tasks.upload_of(job):
        upload = await parts.store.remove_upload(upload_id, by=caller.by, now=parts.clock.now())
        await parts.remover.take_away(Purged((upload.key,) if upload else (), (), 0))
    return DeleteReply(is_deleted=True, error_message="Task and associated render successfully deleted.")


router = APIRouter(prefix="/renderapi/v1", tags=["render farm"])
for _one in (_info, _enqueue, _dequeue, _download, _delete):
    router.include_router(_one)

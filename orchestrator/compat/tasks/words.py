"""Jobs, files and refusals in the words of the render task system. Times are milliseconds since the epoch."""

import json
from typing import Any, Generic, Literal, TypeVar

from fastapi.responses import Response
from pydantic import BaseModel

from gpulease.contract.problems import Problem
from orchestrator.api.problems import headers_of
from orchestrator.api.views import full_view, signed
from orchestrator.compat.surface import in_words
from orchestrator.parts import Parts
from orchestrator.store.rows import Job
from scaling.states import JobState

Status = Literal["pending", "processing", "completed", "failed"]
TYPE = "render"
PRIORITY = 10
"""What theirs has for every task. Lower goes first there, higher here."""
STATES: dict[Status, tuple[JobState, ...]] = {
    "pending": (JobState.QUEUED,),
    "processing": (JobState.RUNNING,),
    "completed": (JobState.SUCCEEDED,),
    "failed": (JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.EXPIRED),
}
_WORDS = {state: word for word, states in STATES.items() for state in states}
Data = TypeVar("Data")


class Answer(BaseModel, Generic[Data]):
    success: Literal[True] = True
    message: str = "OK"
    data: Data


class Refused(BaseModel):
    """`error` says the same as `message`: some of their clients read one, some the other."""

    success: Literal[False] = False
    message: str
    error: str


class Picture(BaseModel):
    name: str
    url: str | None


class Made(BaseModel):
    """`pictures` are in the order of the cameras' names, with URLs that anybody may open until they expire."""

    pictures: list[Picture]
    facts: dict[str, Any]


class Created(BaseModel):
    taskId: str  # noqa: N815  The wire's.
    status: Status
    createdAt: int  # noqa: N815


class TaskRow(BaseModel):
    """A task in a list. `id` and `taskId` are the same."""

    id: str
    taskId: str  # noqa: N815
    projectId: str | None  # noqa: N815
    type: str
    status: Status
    createdAt: int  # noqa: N815
    startedAt: int | None  # noqa: N815
    completedAt: int | None  # noqa: N815
    progress: int
    priority: int
    error: str | None


class Task(TaskRow):
    """`message` says what it does now, or what it waits for."""

    message: str | None
    result: Made | None


def status_of(job: Job) -> Status:
    return _WORDS[job.state]


def task_row(job: Job, progress: float = 0.0) -> TaskRow:
    done = job.state is JobState.SUCCEEDED
    failed = status_of(job) == "failed"
    return TaskRow(
        id=job.id,
        taskId=job.id,
        projectId=job.need.project or None,
        type=type_of(job),
        status=status_of(job),
        createdAt=millis(job.created_at),
        startedAt=None if job.started_at is None else millis(job.started_at),
        completedAt=None if job.finished_at is None else millis(job.finished_at),
        progress=100 if done else min(99, int(progress * 100)),
        priority=PRIORITY - job.need.priority,
        error=(job.fault.message if job.fault else job.state.value) if failed else None,
    )


async def task(parts: Parts, job: Job) -> Task:
    """With its progress, why it waits, and what it made."""
    view = await full_view(parts, job)
    row = task_row(job, view.progress or 0.0)
    made = Made(pictures=await pictures(parts, job), facts=job.result.data) if job.result else None
    return Task(**row.model_dump(), message=view.message or view.blocked, result=made)


async def pictures(parts: Parts, job: Job) -> list[Picture]:
    if job.result is None:
        return []
    files = (await signed(parts, job.result)).files
    return [Picture(name=one.name, url=one.url) for one in files if one.content_type.startswith("image/")]


def type_of(job: Job) -> str:
    """Theirs renders only; other jobs are of the type that their engine is called."""
    return TYPE if job.need.engine == "blender" else job.need.engine


def millis(at: float) -> int:
    return round(at * 1000)


def refuse(problem: Problem) -> Response:
    said = in_words(problem)
    body = {"success": False, "message": said, "error": said}
    headers = headers_of(problem)
    # In ASCII, since a message may quote what nobody can encode.
    return Response(json.dumps(body), problem.status, headers=headers, media_type="application/json")


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refused, "description": "What is wrong with the request."},
    "5XX": {"model": Refused, "description": "What is wrong here; trying again later may help."},
}

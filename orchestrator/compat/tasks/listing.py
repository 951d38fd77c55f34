"""Tasks by page number, from a store that lists by place."""

from pydantic import BaseModel, Field

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.problems import FieldFault, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.sight import sight
from orchestrator.compat.tasks.words import STATES, TYPE, Status, TaskRow, task_row
from orchestrator.parts import Parts
from orchestrator.store.rows import Job, JobFilter
from scaling.states import JobState

ROWS_MAX = 10_000
"""A page that ends after so many rows is refused: ask for a status, or by the native API."""
BEYOND_MAX = 1_000


class Wanted(BaseModel):
    """The query of a list. `type` is `render`, or the name of one of our engines."""

    page: int = Field(default=1, ge=1, le=ROWS_MAX)
    pageSize: int = Field(default=10, ge=1, le=100)  # noqa: N815  The wire's.
    status: Status | None = None
    type: str = Field(default=TYPE, max_length=64)


class TaskPage(BaseModel):
    tasks: list[TaskRow]
    total: int


async def list_tasks(parts: Parts, caller: Caller, wanted: Wanted) -> TaskPage:
    """Newest first.

    Raises:
        ProblemError: 422, the page is too far back.
    """
    start, end = (wanted.page - 1) * wanted.pageSize, wanted.page * wanted.pageSize
    if end > ROWS_MAX:
        message = f"at most {ROWS_MAX} tasks back; ask for one status, or use GET /v1/jobs"
        raise invalid([FieldFault(field="page", message=message)])
    engine = "blender" if wanted.type == TYPE else wanted.type
    if engine not in CATALOGUE:
        return TaskPage(tasks=[], total=0)
    seen = await sight(parts, caller)
    states: tuple[JobState | None, ...] = STATES[wanted.status] if wanted.status else (None,)
    found: list[Job] = []
    for state in states:
        which = JobFilter(state=state, engine=engine, seen_by=seen)
        found += await _read(parts, which, end + BEYOND_MAX)
    found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    rows = [await _row(parts, job) for job in found[start:end]]
    return TaskPage(tasks=rows, total=min(len(found), end + BEYOND_MAX))


async def _read(parts: Parts, which: JobFilter, limit: int) -> list[Job]:
    """In pieces, so that others get between."""
    found: list[Job] = []
    while len(found) < limit:
        before = (found[-1].created_at, found[-1].id) if found else None
        piece = await parts.store.list_jobs(which, before=before, limit=min(500, limit - len(found)))
        found += piece
        if len(piece) < 500:
            break
    return found


async def _row(parts: Parts, job: Job) -> TaskRow:
    if job.state is not JobState.RUNNING:
        return task_row(job)
    attempts = await parts.store.list_attempts(job.id)
    return task_row(job, attempts[-1].progress if attempts else 0.0)

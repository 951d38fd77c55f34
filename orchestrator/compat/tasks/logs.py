"""What a task's engine printed, by page and by offset, and the task's moves."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from orchestrator.api.auth import Shared, Viewer
from orchestrator.api.edge.cursors import ROW_MAX
from orchestrator.api.sight import find_job
from orchestrator.compat.surface import refusing
from orchestrator.compat.tasks.tasks import TaskId
from orchestrator.compat.tasks.words import REFUSALS, Answer, millis, refuse
from orchestrator.parts import Parts
from orchestrator.store.rows import Event, Job
from scaling.states import TERMINAL_JOBS

CHUNK_BYTES_DEFAULT = 2560
Stage = Literal["start", "processing", "completed"]
_ENDS = {str(state) for state in TERMINAL_JOBS}
_LETTER_BYTES_MAX = 4

router = APIRouter(tags=["task orchestration"], route_class=refusing(refuse), responses=REFUSALS)


class Log(BaseModel):
    """Without a page, the whole of it is the one page."""

    content: str
    totalLines: int  # noqa: N815  The wire's.
    currentPage: int  # noqa: N815
    totalPages: int  # noqa: N815


class Chunk(BaseModel):
    """Offsets are in bytes; no letter is cut."""

    content: str
    hasMore: bool  # noqa: N815
    nextOffset: int  # noqa: N815


@router.get("/api/render/tasks/{task_id}/logs")
async def by_page(
    parts: Shared,
    caller: Viewer,
    task_id: TaskId,
    page: Annotated[int | None, Query(ge=1, le=ROW_MAX)] = None,
    pageSize: Annotated[int | None, Query(ge=1, le=10_000)] = None,  # noqa: N803
) -> Answer[Log]:
    """Of the latest attempt, `pageSize` lines a page; without both, all of it."""
    job = await find_job(parts, caller, task_id)
    lines = (await _log(parts, job)).decode(errors="replace").splitlines()
    size = pageSize if page and pageSize else max(1, len(lines))
    start = ((page or 1) - 1) * size if pageSize else 0
    log = Log(
        content="\n".join(lines[start : start + size]),
        totalLines=len(lines),
        currentPage=page or 1,
        totalPages=-(-len(lines) // size),
    )
    return Answer(data=log)


@router.get("/api/task/logger/{task_id}")
async def by_offset(
    parts: Shared,
    caller: Viewer,
    task_id: TaskId,
    offset: Annotated[int, Query(ge=0, le=ROW_MAX)] = 0,
    chunkSize: Annotated[int, Query(ge=_LETTER_BYTES_MAX, le=1024 * 1024)] = CHUNK_BYTES_DEFAULT,  # noqa: N803
) -> Answer[Chunk]:
    """Of the latest attempt. `hasMore` says whether more is there now; a task that runs may print more."""
    job = await find_job(parts, caller, task_id)
    found = await _log(parts, job, offset)
    taken = _whole_letters(found[:chunkSize]) if len(found) > chunkSize else found
    text = taken.decode(errors="replace")
    more = len(taken) < len(found)
    return Answer(data=Chunk(content=text, hasMore=more, nextOffset=offset + len(taken)))


@router.get("/api/logs")
async def moves(
    parts: Shared,
    caller: Viewer,
    taskId: Annotated[str, Query(max_length=100)],  # noqa: N803
    stage: Stage | None = None,
    count: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Answer[list[list[Any]]]:
    """Oldest first: `[id, ["stage", …, "message", …, "timestamp", …]]`, as a stream of Redis has them."""
    job = await find_job(parts, caller, taskId)
    events = await parts.store.list_events(job_id=job.id, limit=1_000)
    told = [_entry(one) for one in events if stage in (None, _stage(one))]
    return Answer(data=told[:count])


async def _log(parts: Parts, job: Job, offset: int = 0) -> bytes:
    return await parts.agents.logs.read(job.id, job.attempts, offset)


def _whole_letters(chunk: bytes) -> bytes:
    """Without the beginning of a letter at its end."""
    for cut in range(1, _LETTER_BYTES_MAX):
        byte = chunk[-cut]
        if byte & 0xC0 == 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return chunk[:-cut] if cut < length else chunk
        if byte < 0x80:
            break
    return chunk


def _stage(event: Event) -> Stage:
    if event.after in _ENDS:
        return "completed"
    return "start" if event.after == "queued" else "processing"


def _entry(event: Event) -> list[Any]:
    message = f"{event.kind} {event.after or ''}: {event.reason or event.who}"
    at = millis(event.at)
    return [f"{at}-{event.seq}", ["stage", _stage(event), "message", message, "timestamp", str(at)]]

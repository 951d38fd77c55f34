"""/v1/jobs/{id}/events: the moves of a job, as JSON or as a stream that can be resumed."""

import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event

from gpulease.contract.problems import FieldFault, invalid
from orchestrator.api.auth import Shared, Viewer
from orchestrator.api.edge.cursors import ROW_MAX
from orchestrator.api.jobs import wants_events
from orchestrator.api.sight import find_job
from orchestrator.api.views import event_view
from orchestrator.parts import Parts
from scaling.states import TERMINAL_JOBS, AttemptState

KEEPALIVE_S = 10.0
LOOK_S = 2.0
"""A follower looks so often even if nobody wakes it."""


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/events")
async def events(
    parts: Shared,
    request: Request,
    job_id: str,
    caller: Viewer,
    after: Annotated[int, Query(ge=0, le=ROW_MAX, description="The last seq that you have.")] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """With `Accept: text/event-stream`: `move` events with ids, and `progress` events without, until the
    job ends; `Last-Event-ID` resumes. Otherwise JSON: the moves after `after`.
    """
    await find_job(parts, caller, job_id)
    start = max(after, _seq(last_event_id))
    if wants_events(request):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            _follow(parts, job_id, start), media_type="text/event-stream", headers=headers
        )
    moves = await parts.store.list_events(job_id=job_id, after=start)
    return JSONResponse({"items": [event_view(one).model_dump(mode="json") for one in moves]})


async def _follow(parts: Parts, job_id: str, seq: int) -> AsyncIterator[bytes]:
    shown: tuple[object, ...] = ()
    quiet_s = 0.0
    while not parts.agents.feed.closed:
        job = await parts.store.get_job(job_id)
        for event in await parts.store.list_events(job_id=job_id, after=seq):
            seq = event.seq
            quiet_s = 0.0
            yield _frame("move", event_view(event).model_dump_json(), str(seq))
        if job is None or job.state in TERMINAL_JOBS:
            return
        attempts = await parts.store.list_attempts(job_id)
        if attempts and attempts[-1].state is AttemptState.RUNNING:
            latest = attempts[-1]
            now_shown = (latest.id, latest.phase, latest.progress, latest.message)
            if now_shown != shown:
                shown, quiet_s = now_shown, 0.0
                yield _frame("progress", progress_json(latest.phase, latest.progress, latest.message))
        if quiet_s >= KEEPALIVE_S:
            quiet_s = 0.0
            yield b": still here\n\n"
        before = parts.clock.now()
        await parts.agents.feed.wait(job_id, LOOK_S)
        quiet_s += max(0.0, parts.clock.now() - before)


def progress_json(phase: str, progress: float, message: str | None) -> str:
    return json.dumps({"phase": str(phase), "progress": progress, "message": message})


def _frame(kind: str, data: str, seq: str | None = None) -> bytes:
    return format_sse_event(event=kind, data_str=data, id=seq)


def _seq(last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    if not re.fullmatch("[0-9]{1,18}", last_event_id):
        raise invalid([FieldFault(field="Last-Event-ID", message="send the id of an event of this job")])
    return int(last_event_id)

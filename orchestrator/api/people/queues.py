"""/v1/queues: what runs and waits in each queue, and how many of its jobs may run at once."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from gpulease.contract.base import Lenient, Wire
from gpulease.contract.jobs import Name
from orchestrator.api.auth import Operator, Shared, Viewer
from orchestrator.api.edge.cursors import Limit, cut_after, place_of
from orchestrator.api.sight import sight
from orchestrator.parts import Parts
from orchestrator.store.rows import Sight
from scaling.snapshot import Need

router = APIRouter(prefix="/v1/queues", tags=["jobs"])
RUNNING_MAX = 1_000_000


class QueueRequest(Wire):
    running_max: int | None = Field(
        ge=0,
        le=RUNNING_MAX,
        description="How many of its jobs run at once; 0 holds all back, null is no bound.",
    )


class QueueView(Lenient):
    """Running and waiting are of the jobs that the caller may see; the bound is for everybody's."""

    name: str
    running: int
    queued: int = Field(description='Exact up to 5,000 jobs that are alike, and "at least" above it.')
    running_max: int | None


class QueuePage(Lenient):
    items: tuple[QueueView, ...]
    next_cursor: str | None = None


@router.get("")
async def list_queues(
    parts: Shared, caller: Viewer, cursor: str | None = None, limit: Limit = 100
) -> QueuePage:
    """Queues that have jobs of yours, or a bound; operators see everybody's."""
    views = await _views(parts, await sight(parts, caller))
    page, more = cut_after(views, lambda one: one.name, place_of(cursor, str), limit)
    return QueuePage(items=tuple(page), next_cursor=more)


@router.put("/{name}")
async def put_queue(
    parts: Shared, name: Annotated[Name, Path()], body: QueueRequest, caller: Operator
) -> QueueView:
    """Bounds a queue, from now on. Nothing that runs is ended."""
    await parts.quotas.put_queue(name, body.running_max, caller.by)
    parts.loops.nudge("reconcile")
    views = await _views(parts, None)
    idle = QueueView(name=name, running=0, queued=0, running_max=body.running_max)
    return next((one for one in views if one.name == name), idle)


async def _views(parts: Parts, seen: Sight | None) -> list[QueueView]:
    fleet = await parts.store.read_fleet()
    running: Counter[str] = Counter()
    queued: Counter[str] = Counter()
    for _, job in fleet.attempts:
        running[job.need.queue] += _shown(job.need, seen)
    for group in fleet.groups:
        queued[group.need.queue] += group.count * _shown(group.need, seen)
    most = parts.quotas.queues
    names = sorted({*(+running), *(+queued), *most})
    return [
        QueueView(name=name, running=running[name], queued=queued[name], running_max=most.get(name))
        for name in names
    ]


def _shown(need: Need, seen: Sight | None) -> bool:
    return seen is None or need.owner == seen.owner or need.project in seen.projects

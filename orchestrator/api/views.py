"""Rows as clients see them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, overload
from uuid import UUID

from gpulease.contract.jobs import AttemptView, EventView, JobView, Requirements, Result
from orchestrator.fleet.costs import attempt_usd, lease_usd, worker_lease
from orchestrator.parts import Parts
from orchestrator.storage.protocol import Storage
from orchestrator.store.rows import Attempt, Event, Job, Worker
from scaling.snapshot import Need
from scaling.states import JobState

SILENT_S_MAX = 45.0
"""Shown as offline from then on: three missed health checks."""


@overload
def moment(at: float) -> datetime: ...
@overload
def moment(at: None) -> None: ...
def moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def job_view(job: Job, **shown: Any) -> JobView:
    """The row alone; `shown` adds what other rows know."""
    need = job.need
    return JobView(
        id=UUID(job.id),
        engine=need.engine,
        status=job.state.value,
        input=job.input,
        priority=need.priority,
        queue=need.queue,
        project=need.project or None,
        low_priority=need.low_priority,
        max_time=round(job.max_time_s),
        complete_in=round(job.complete_by - job.created_at),
        start_within=None if job.start_by is None else round(job.start_by - job.created_at),
        retries=job.retries,
        metadata=job.metadata,
        requirements=_requirements(need),
        notify_url=job.notify_url,
        retry_of=UUID(job.retry_of) if job.retry_of else None,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
        fault=job.fault,
        **shown,
    )


async def full_view(parts: Parts, job: Job) -> JobView:
    """A job with its attempts, progress, result, cost, and why it waits."""
    attempts = await parts.store.list_attempts(job.id)
    latest = attempts[-1] if attempts and job.state is not JobState.QUEUED else None
    return job_view(
        job,
        attempts=tuple(_attempt(one) for one in attempts),
        phase=latest.phase if latest else None,
        progress=latest.progress if latest else None,
        message=latest.message if latest else None,
        result=await signed(parts, job.result) if job.result else None,
        cost_usd=await _cost(parts, attempts),
        blocked=_why_waiting(parts, job) if job.state is JobState.QUEUED else None,
    )


def _why_waiting(parts: Parts, job: Job) -> str | None:
    if parts.loops.error("reconcile"):
        return "No plan could be made; the server's log and /healthz say why."
    return parts.reconciler.blocked(job.need)


async def signed(parts: Parts, result: Result) -> Result:
    """The result with URLs that anybody who has them may open until they expire."""
    return await signed_by(parts.storage, result, parts.settings.url_expires_s)


async def signed_by(storage: Storage, result: Result, expires_s: float) -> Result:
    """The same by a storage, for so many seconds."""
    files = [
        file.model_copy(
            update={"url": await storage.presign_get(file.key, expires_s=expires_s, filename=file.name)}
        )
        for file in result.files
    ]
    return result.model_copy(update={"files": tuple(files)})


def event_view(event: Event) -> EventView:
    return EventView(
        seq=event.seq,
        at=moment(event.at),
        kind=event.kind,
        before=event.before,
        after=event.after,
        who=event.who,
        reason=event.reason,
        data=event.data,
    )


def worker_view(worker: Worker, busy: int, now: float) -> dict[str, Any]:
    lease = worker_lease(worker)
    silent_s = None if worker.heartbeat_at is None else now - worker.heartbeat_at
    return {
        "id": worker.id,
        "provider": worker.provider,
        "instance_id": worker.instance_id,
        "state": worker.state.value,
        "owned": worker.owned,
        "online": silent_s is not None and silent_s <= SILENT_S_MAX,
        "address": worker.address,
        "host_id": worker.host_id,
        "gpu_class": worker.gpu_class,
        "vram_gb": worker.vram_gb,
        "usd_per_hour": worker.usd_per_hour,
        "cost_usd": lease_usd(lease, now) if lease else 0.0,
        "busy": busy,
        "capacity": worker.capacity,
        "queues": worker.queues,
        "paused": worker.paused,
        "engines": [
            {"engine": one.engine, "backend": one.backend, "models": one.models, "features": one.features}
            for one in worker.capabilities
        ],
        "resident": worker.resident,
        "jobs_done": worker.jobs_done,
        "age_s": now - (worker.lease_from or worker.intended_at),
        "heartbeat_age_s": silent_s,
        "error": worker.error,
    }


def _requirements(need: Need) -> Requirements:
    return Requirements(
        gpu_class=need.gpu_class,
        min_vram_gb=need.min_vram_gb or None,
        providers=need.providers,
        usd_max=need.usd_per_hour_max,
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt=attempt.id,
        number=attempt.number,
        worker_id=attempt.worker_id,
        state=attempt.state.value,
        phase=attempt.phase,
        progress=attempt.progress,
        message=attempt.message,
        started_at=moment(attempt.started_at),
        ended_at=moment(attempt.ended_at),
        fault=attempt.fault,
    )


async def _cost(parts: Parts, attempts: Sequence[Attempt]) -> float | None:
    if not attempts:
        return None
    now = parts.clock.now()
    total = 0.0
    for attempt in attempts:
        if worker := await parts.store.get_worker(attempt.worker_id):
            total += attempt_usd(attempt, worker, now)
    return total

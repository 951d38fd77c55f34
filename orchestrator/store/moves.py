"""The events that moves write, worded alike in every store. `id` and `seq` are given when they are written."""

from orchestrator.store.rows import Attempt, Event, Job, NewWorker, Worker, WorkerMove
from scaling.states import JobState, WorkerState

US = "orchestrator"


def of_worker(worker_id: str) -> str:
    return f"worker:{worker_id}"


def submitted(job: Job) -> Event:
    who = job.need.owner or "client"
    data = {"retry_of": job.retry_of} if job.retry_of else {}
    return Event(0, job.created_at, "state", who, job.id, seq=1, after=JobState.QUEUED, data=data)


def claimed(job: Job, attempt: Attempt) -> Event:
    return Event(
        id=0,
        at=attempt.started_at,
        kind="state",
        who=of_worker(attempt.worker_id),
        job_id=job.id,
        worker_id=attempt.worker_id,
        before=JobState.QUEUED,
        after=JobState.RUNNING,
        data=_which(attempt),
    )


def phase_entered(before: Attempt, after: Attempt) -> Event:
    return Event(
        id=0,
        at=after.reported_at,
        kind="phase",
        who=of_worker(after.worker_id),
        job_id=after.job_id,
        worker_id=after.worker_id,
        before=before.phase,
        after=after.phase,
        reason=after.message,
        data=_which(after),
    )


def job_moved(before: Job, after: Job, attempt: Attempt | None, *, who: str, at: float) -> Event:
    """Ended, or queued again; `after.fault` says why, where there is one."""
    return Event(
        id=0,
        at=at,
        kind="state",
        who=who,
        job_id=after.id,
        worker_id=attempt.worker_id if attempt else None,
        before=before.state,
        after=after.state,
        reason=after.fault.message if after.fault else None,
        data={**_which(attempt), **({"code": after.fault.code} if after.fault else {})},
    )


def intended(worker: NewWorker) -> Event:
    return Event(
        id=0,
        at=worker.intended_at,
        kind="worker",
        who=US,
        worker_id=worker.id,
        after=WorkerState.INTENDED,
        reason=worker.reason,
    )


def enrolled(worker: Worker, *, again: bool) -> Event:
    """The first event of a life; an earlier one ended in its terminal state, and stays ended."""
    return Event(
        id=0,
        at=worker.intended_at,
        kind="worker",
        who=of_worker(worker.id),
        worker_id=worker.id,
        after=worker.state,
        reason="enrolled again" if again else "enrolled",
    )


def worker_moved(worker: Worker, move: WorkerMove, now: float) -> Event:
    return Event(
        id=0,
        at=now,
        kind="worker",
        who=move.who,
        worker_id=worker.id,
        before=worker.state,
        after=move.to,
        reason=move.reason,
    )


def restarted(worker: Worker, now: float) -> Event:
    return Event(
        id=0,
        at=now,
        kind="restarted",
        who=of_worker(worker.id),
        worker_id=worker.id,
        before=worker.state,
        after=worker.state,
    )


def paused(worker_id: str, *, on: bool, who: str, now: float) -> Event:
    return Event(0, now, "paused" if on else "resumed", who, worker_id=worker_id)


def setting_written(name: str, who: str, now: float) -> Event:
    return Event(0, now, "setting", who, data={"name": name})


def _which(attempt: Attempt | None) -> dict[str, int]:
    return {"attempt": attempt.id, "number": attempt.number} if attempt else {}

"""What every store must agree on, as pure functions: retries, limits, progress, and who may claim."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpulease.contract.jobs import Fault, Phase, Result
from orchestrator.store.rows import (
    Attempt,
    Enrolment,
    InstanceFacts,
    Job,
    NewJob,
    Progress,
    Registration,
    Worker,
)
from scaling.place import Candidate
from scaling.snapshot import AGES_MAX, Need, WorkerView
from scaling.states import JobState, WorkerState

AVOID_MAX = 8
"""A need remembers so many of the workers that failed it; the oldest is forgiven first."""
SERVICE_TIMES_MAX = 50
LOAD_TIMES_MAX = 50
LOAD_S_MIN = 0.1
"""A model that was in memory is found there sooner than this."""
BOOT_TIMES_MAX = 50
BATCH_MAX = 1_000
"""How many jobs one verb ends or removes at once."""
AUDIT_KEPT_S = 400 * 86_400.0
SPENDING_KEPT_S = 40 * 86_400.0
"""No budget looks further back."""

SERVING = (WorkerState.READY, WorkerState.DRAINING)
PHASES = tuple(Phase)


def new_job(asked: NewJob) -> Job:
    return Job(
        id=asked.id,
        need=asked.need,
        input=asked.input,
        state=JobState.QUEUED,
        created_at=asked.created_at,
        complete_by=asked.complete_by,
        max_time_s=asked.max_time_s,
        retries=asked.retries,
        start_by=asked.start_by,
        notify_url=asked.notify_url,
        metadata=asked.metadata,
        retry_of=asked.retry_of,
    )


def must_start_by(job: Job | NewJob) -> float:
    """Once a job was attempted, `start_by` has been met and counts no more."""
    attempts = job.attempts if isinstance(job, Job) else 0
    if job.start_by is None or attempts:
        return job.complete_by
    return min(job.start_by, job.complete_by)


def candidate(need: Need, created_at: float, start_by: float, now: float, count: int = 1) -> Candidate:
    return Candidate(need=need, age_s=now - created_at, slack_s=start_by - now, count=count)


def even_ranks(count: int) -> Sequence[int]:
    """Of the first and the last of so many, and of those evenly between: all, or `AGES_MAX` of them."""
    if count <= AGES_MAX:
        return range(count)
    return [place * (count - 1) // (AGES_MAX - 1) for place in range(AGES_MAX)]


def host(worker: Worker, now: float) -> WorkerView:
    """The machine as choosing a job for it sees it: with what is left of its lease."""
    return WorkerView(
        id=worker.id,
        provider=worker.provider,
        state=worker.state,
        gpu_class=worker.gpu_class,
        vram_gb=worker.vram_gb,
        usd_per_hour=worker.usd_per_hour,
        capabilities=worker.capabilities,
        queues=worker.queues,
        lease_left_s=None if worker.lease_ends_at is None else worker.lease_ends_at - now,
    )


def enrolled(enrolment: Enrolment, before: Worker | None) -> Worker | None:
    """The new row of an owner's machine; None where the id is another's, or is alive.

    A life that begins anew keeps the count of its jobs, and the pause that somebody put it in.
    """
    gone = before is None or before.state is WorkerState.GONE
    same = before is None or (before.owned and before.provider == enrolment.provider)
    if not gone or not same:
        return None
    return Worker(
        id=enrolment.id,
        provider=enrolment.provider,
        gpu_class=enrolment.gpu_class,
        state=WorkerState.STARTING,
        usd_per_hour=enrolment.usd_per_hour,
        state_at=enrolment.at,
        intended_at=enrolment.at,
        buy_at=enrolment.at,
        key_hash=enrolment.key_hash,
        boot_billed=False,
        jobs_done=before.jobs_done if before else 0,
        paused=before is not None and before.paused,
        owned=True,
    )


def price(worker: Worker, said: Registration) -> float:
    """Only an owner says what the machine costs."""
    return said.usd_per_hour if worker.owned and said.usd_per_hour is not None else worker.usd_per_hour


def with_instance(worker: Worker, facts: InstanceFacts) -> Worker:
    """What the facts leave open stays as it was."""
    return replace(
        worker,
        instance_id=facts.id,
        lease_ends_at=worker.lease_ends_at if facts.lease_ends_at is None else facts.lease_ends_at,
        address=worker.address if facts.address is None else facts.address,
        host_id=worker.host_id if facts.host_id is None else facts.host_id,
    )


def may_claim(worker: Worker) -> bool:
    return worker.state is WorkerState.READY and not worker.paused


def avoiding(need: Need, worker_id: str) -> Need:
    others = tuple(one for one in need.avoid if one != worker_id)
    return replace(need, avoid=(*others, worker_id)[-AVOID_MAX:])


def absorb(attempt: Attempt, report: Progress, now: float) -> Attempt:
    """The attempt after a report. One that came out of order proves life, and changes nothing else."""
    alive = replace(attempt, reported_at=now)
    behind = PHASES.index(report.phase) < PHASES.index(attempt.phase)
    if behind or report.progress < attempt.progress:
        return alive if behind else _enter(alive, replace(report, progress=attempt.progress), now)
    return _enter(alive, report, now)


def _enter(attempt: Attempt, report: Progress, now: float) -> Attempt:
    frees = PHASES.index(report.phase) >= PHASES.index(Phase.UPLOADING) and attempt.slot_freed_at is None
    return replace(
        attempt,
        phase=report.phase,
        progress=report.progress,
        message=report.message,
        slot_freed_at=now if frees else attempt.slot_freed_at,
    )


def slot_s(attempt: Attempt, now: float) -> float:
    """How long it held its slot, if it lets go now or did before. A clock set back gives 0."""
    return max(0.0, (attempt.slot_freed_at or now) - attempt.started_at)


def load_s(result: Result | None, slot_s: float) -> float | None:
    """How long an attempt loaded its model, by its worker's word; None where that was there already, or is not told."""
    return load_told(result.metrics.get("MODEL_LOAD_SEC") if result is not None else None, slot_s)


def load_told(said: float | str | None, slot_s: float) -> float | None:
    """What a worker said of its load, where that can be."""
    if said is None or isinstance(said, str) or not LOAD_S_MIN <= said < math.inf:
        return None
    return float(min(said, slot_s))


def after_host_fault(job: Job, fault: Fault, earlier: Iterable[Attempt], now: float) -> JobState:
    """Queued again, or failed: no retry is left, it is too late, or two hosts say that the image is broken.

    `job.attempts` counts the one that just ended; `earlier` are those before it, on other workers.
    """
    same_image_fault = fault.code.startswith("image") and any(
        one.fault is not None and one.fault.code == fault.code for one in earlier
    )
    again = job.attempts <= job.retries and now < job.complete_by and not same_image_fault
    return JobState.QUEUED if again else JobState.FAILED


def lost(reason: str) -> Fault:
    return Fault(kind="host", code="lost", message=reason)


def cancelled(reason: str, code: str = "cancelled") -> Fault:
    return Fault(kind="job", code=code, message=reason)


def expired(job: Job, now: float) -> Fault:
    limit = "complete_in" if now >= job.complete_by else "start_within"
    return Fault(kind="job", code="expired", message=f"It waited in the queue past its limit {limit}.")


def timed_out(job: Job, now: float) -> Fault:
    limit = "complete_in" if now >= job.complete_by else "max_time"
    return Fault(kind="job", code="timed_out", message=f"It ran past its limit {limit}.")


def overdue(job: Job, attempt: Attempt, now: float) -> bool:
    """Whether a running job is past a limit. `max_time_s` counts only while the slot is held."""
    too_long = attempt.slot_freed_at is None and attempt.started_at + job.max_time_s <= now
    return too_long or job.complete_by <= now


def report_hash(result: Result | None, fault: Fault | None) -> str:
    """Tells a repeated report from a different one.

    Raises:
        ValueError: a report has a result or a fault, never both nor neither.
    """
    if (result is None) == (fault is None):
        raise ValueError("an attempt ends with either a result or a fault")
    said = [one.model_dump(mode="json") if one else None for one in (result, fault)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

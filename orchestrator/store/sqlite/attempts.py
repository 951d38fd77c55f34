"""Attempts: found, reported on, ended. Every move is guarded by the attempt's state and by who holds it."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlite_utils import Database

from gpulease.contract.jobs import Fault, Phase, Result
from orchestrator.store import moves, rules
from orchestrator.store.rows import Attempt, Claimed, Held, Job, Progress, Verdict
from orchestrator.store.sqlite import events, history, jobs
from orchestrator.store.sqlite.values import attempt_from, fault_text
from scaling.states import ATTEMPT_MOVES, AttemptState, JobState, advance

IDS_SKIPPED = 10_000
_SKIP_IDS = "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'attempts'"
_BY_ID = "SELECT * FROM attempts WHERE id = ?"
_OF_JOB = """
    SELECT a.* FROM attempts a JOIN jobs j ON j.pk = a.job_pk WHERE j.id = ? ORDER BY a.number
"""
_OF_WORKER = """
    SELECT a.*, j.id AS job_id FROM attempts a JOIN jobs j ON j.pk = a.job_pk WHERE a.worker_id = ? ORDER BY a.id
"""
_ELSEWHERE = "SELECT * FROM attempts WHERE job_pk = ? AND id <> ? AND worker_id <> ?"
_RUNNING_OF_WORKER = "SELECT id FROM attempts WHERE worker_id = ? AND state = 'running' ORDER BY id"
_REPORT = """
    UPDATE attempts SET phase = ?, progress = ?, message = ?, reported_at = ?, slot_freed_at = ?
    WHERE id = ? AND state = 'running'
"""
_END = """
    UPDATE attempts SET state = ?, ended_at = ?, fault = ?, phase = ?, progress = ?
    WHERE id = ? AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class Found:
    """An attempt with its job and the hash of the report that ended it, if one did."""

    attempt: Attempt
    known: jobs.Known
    report_hash: str | None

    def is_of(self, held: Held) -> bool:
        return self.attempt.worker_id == held.worker_id and self.attempt.incarnation == held.incarnation

    @property
    def runs(self) -> bool:
        return self.attempt.state is AttemptState.RUNNING


def skip_ids(database: Database) -> None:
    """A power cut may undo a claim whose worker runs on. At each start, later ids leave those behind, so that
    what such a worker says of its attempt is never taken for another one's.
    """
    database.execute(_SKIP_IDS, (IDS_SKIPPED,))


def find(database: Database, attempt_id: int) -> Found | None:
    row: sqlite3.Row | None = database.execute(_BY_ID, (attempt_id,)).fetchone()
    if row is None:
        return None
    known = jobs.at(database, row["job_pk"])
    return Found(attempt_from(row, known.job.id), known, row["report_hash"])


def get(database: Database, attempt_id: int) -> Claimed | None:
    found = find(database, attempt_id)
    return Claimed(found.known.job, found.attempt) if found else None


def running(database: Database, attempt_id: int) -> Claimed | None:
    claimed = get(database, attempt_id)
    return claimed if claimed and claimed.attempt.state is AttemptState.RUNNING else None


def listed(database: Database, job_id: str) -> list[Attempt]:
    return [attempt_from(row, job_id) for row in database.execute(_OF_JOB, (job_id,)).fetchall()]


def listed_of_worker(database: Database, worker_id: str) -> list[Attempt]:
    found = database.execute(_OF_WORKER, (worker_id,)).fetchall()
    return [attempt_from(row, row["job_id"]) for row in found]


def report(database: Database, held: Held, progress: Progress, now: float) -> Verdict:
    found = find(database, held.attempt_id)
    if found is None or not found.runs or not found.is_of(held):
        return Verdict.STALE
    before = found.attempt
    after = rules.absorb(before, progress, now)
    shown = (after.phase, after.progress, after.message, after.reported_at, after.slot_freed_at)
    database.execute(_REPORT, (*shown, after.id))
    if after.phase is not before.phase:
        events.record_of_job(database, moves.phase_entered(before, after), found.known.pk)
    if after.slot_freed_at is not None and before.slot_freed_at is None:
        history.slot_freed(database, before, now)
    return Verdict.APPLIED


def finish(database: Database, held: Held, result: Result | None, fault: Fault | None, now: float) -> Verdict:
    said = rules.report_hash(result, fault)
    found = find(database, held.attempt_id)
    if found is None or not found.is_of(held):
        return Verdict.STALE
    if not found.runs:
        return Verdict.REPEATED if found.report_hash == said else Verdict.STALE
    database.execute("UPDATE attempts SET report_hash = ? WHERE id = ?", (said, held.attempt_id))
    history.count_job(database, held.worker_id)
    who = moves.of_worker(held.worker_id)
    if fault is not None and fault.kind == "host":
        fail_on_host(database, found, AttemptState.FAILED, jobs.Ending(JobState.FAILED, who, now, fault))
        return Verdict.APPLIED
    state, job_state = (
        (AttemptState.SUCCEEDED, JobState.SUCCEEDED) if result else (AttemptState.FAILED, JobState.FAILED)
    )
    ending = jobs.Ending(job_state, who, now, fault, result)
    end_with_job(database, held.attempt_id, state, ending)
    return Verdict.APPLIED


def end_with_job(database: Database, attempt_id: int, state: AttemptState, ending: jobs.Ending) -> Job:
    """Ends a running attempt, and its job with it."""
    found = find(database, attempt_id)
    if found is None:
        raise LookupError(attempt_id)
    attempt = _end(database, found, state, ending)
    if state is AttemptState.SUCCEEDED:
        history.service_took(database, found.known.job.need, attempt, ending.result)
    return jobs.end(database, found.known, replace(ending, attempt=attempt))


def fail_on_host(database: Database, found: Found, state: AttemptState, ending: jobs.Ending) -> Job:
    """Ends an attempt whose machine failed it; its job runs again elsewhere while that is allowed."""
    attempt = _end(database, found, state, ending)
    known = found.known
    elsewhere = database.execute(_ELSEWHERE, (known.pk, attempt.id, attempt.worker_id)).fetchall()
    earlier = [attempt_from(row, known.job.id) for row in elsewhere]
    ending = replace(ending, attempt=attempt)
    fault = ending.fault or rules.lost("")
    if rules.after_host_fault(known.job, fault, earlier, ending.at) is JobState.QUEUED:
        return jobs.requeue(database, known, ending)
    return jobs.end(database, known, ending)


def lose(database: Database, attempt_id: int, who: str, reason: str, now: float) -> Job | None:
    found = find(database, attempt_id)
    if found is None or not found.runs:
        return None
    ending = jobs.Ending(JobState.FAILED, who, now, rules.lost(reason))
    return fail_on_host(database, found, AttemptState.LOST, ending)


def lose_one(database: Database, attempt_id: int, reason: str, now: float) -> Job | None:
    return lose(database, attempt_id, moves.US, reason, now)


def lose_all(database: Database, worker_id: str, keep: Iterable[int], reason: str, now: float) -> list[str]:
    """The ids of the jobs whose attempts on the worker ended."""
    kept = set(keep)
    held = [one for (one,) in database.execute(_RUNNING_OF_WORKER, (worker_id,)) if one not in kept]
    lost = [lose(database, attempt_id, moves.US, reason, now) for attempt_id in held]
    return [job.id for job in lost if job is not None]


def _end(database: Database, found: Found, state: AttemptState, ending: jobs.Ending) -> Attempt:
    before = found.attempt
    won = state is AttemptState.SUCCEEDED
    after = replace(
        before,
        state=advance(ATTEMPT_MOVES, before.state, state),
        ended_at=ending.at,
        fault=ending.fault,
        phase=Phase.COMPLETED if won else before.phase,
        progress=1.0 if won else before.progress,
    )
    outcome = (after.state, after.ended_at, fault_text(after.fault), after.phase, after.progress)
    database.execute(_END, (*outcome, after.id))
    history.attempt_ended(database, before, ending.at)
    return after

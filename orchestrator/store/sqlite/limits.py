"""Jobs ended from outside: by a client, or by one of their limits."""

from sqlite_utils import Database

from orchestrator.store import changes, moves, rules
from orchestrator.store.people import By
from orchestrator.store.rows import Job
from orchestrator.store.sqlite import attempts, jobs
from orchestrator.store.sqlite.accounts import audit
from scaling.states import TERMINAL_JOBS, AttemptState, JobState

# Group by group, since within each the index has the overdue ones in front.
_OVERDUE_QUEUED = """
    SELECT j.*, g.need FROM waiting_groups w
    JOIN jobs j INDEXED BY jobs_head ON j.group_id = w.group_id
    JOIN job_groups g ON g.id = j.group_id
    WHERE j.state = 'queued' AND j.must_start_by <= ?
    LIMIT ?
"""
_OVERDUE_RUNNING = """
    SELECT a.id FROM attempts a JOIN jobs j ON j.pk = a.job_pk
    WHERE a.state = 'running' AND (
        j.complete_by <= :now OR (a.slot_freed_at IS NULL AND a.started_at + j.max_time_s <= :now))
    ORDER BY a.id LIMIT :limit
"""


def cancel(database: Database, job_id: str, ending: jobs.Ending, by: By | None) -> Job | None:
    known = jobs.find(database, job_id)
    if known is None or known.job.state in TERMINAL_JOBS:
        return known.job if known else None
    before = known.job
    if before.attempt_id is None:
        after = jobs.end(database, known, ending)
    else:
        after = attempts.end_with_job(database, before.attempt_id, AttemptState.CANCELLED, ending)
    audit.record(database, by, changes.cancelled(before, after, ending.at))
    return after


def end_overdue(database: Database, now: float) -> list[Job]:
    queued = database.execute(_OVERDUE_QUEUED, (now, rules.BATCH_MAX)).fetchall()
    queued.sort(key=lambda row: (row["must_start_by"], row["created_at"], row["pk"]))
    ended = []
    for row in queued:
        known = jobs.known_from(row)
        if known is not None:
            fault = rules.expired(known.job, now)
            ended.append(jobs.end(database, known, jobs.Ending(JobState.EXPIRED, moves.US, now, fault)))
    room = {"now": now, "limit": rules.BATCH_MAX - len(ended)}
    for (attempt_id,) in database.execute(_OVERDUE_RUNNING, room).fetchall():
        claimed = attempts.find(database, attempt_id)
        if claimed is not None:
            fault = rules.timed_out(claimed.known.job, now)
            ending = jobs.Ending(JobState.TIMED_OUT, moves.US, now, fault)
            ended.append(attempts.end_with_job(database, attempt_id, AttemptState.TIMED_OUT, ending))
    return ended

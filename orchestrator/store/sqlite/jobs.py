"""Jobs as rows: found, submitted, ended, queued again."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlite_utils import Database

from gpulease.contract.jobs import Fault, Result
from orchestrator.store import changes, moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import By
from orchestrator.store.rows import Attempt, Job, NewJob, Submitted
from orchestrator.store.sqlite import events
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.values import fault_text, job_from, need_text, result_text, to_json
from scaling.snapshot import Need
from scaling.states import JOB_MOVES, JobState, advance

SELECT = "SELECT j.*, g.need FROM jobs j JOIN job_groups g ON g.id = j.group_id "
_BY_ID = SELECT + "WHERE j.id = ?"
_BY_PK = SELECT + "WHERE j.pk = ?"
_BY_KEY = SELECT + "WHERE j.owner = ? AND j.idempotency_key = ?"
_INSERT = """
    INSERT INTO jobs (pk, id, group_id, owner, project, engine, state, created_at, must_start_by, complete_by,
        start_by, max_time_s, retries, idempotency_key, request_hash, retry_of, notify_url, metadata, input)
    VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_END = """
    UPDATE jobs SET state = ?, finished_at = ?, attempt_id = ?, result = ?, fault = ?
    WHERE pk = ? AND state = ?
"""
_REQUEUE = (
    "UPDATE jobs SET state = 'queued', attempt_id = NULL, group_id = ? WHERE pk = ? AND state = 'running'"
)
_INSERT_DELIVERY = """
    INSERT INTO deliveries (job_pk, url, due_at, owner, created_at) VALUES (:pk, :url, :at, :owner, :at)
"""


_COUNT = "UPDATE jobs_made SET number = number + ?"
Fresh = tuple[NewJob, Job]
"""What was asked for, and the job that it becomes."""


@dataclass(frozen=True, slots=True)
class Known:
    """A job and the key of its row."""

    pk: int
    job: Job


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends, at whose word, and after which attempt, if it was running."""

    state: JobState
    who: str
    at: float
    fault: Fault | None = None
    result: Result | None = None
    attempt: Attempt | None = None


def find(database: Database, job_id: str) -> Known | None:
    return known_from(database.execute(_BY_ID, (job_id,)).fetchone())


def at(database: Database, pk: int) -> Known:
    row: sqlite3.Row = database.execute(_BY_PK, (pk,)).fetchone()
    return Known(pk, job_from(row))


def known_from(row: sqlite3.Row | None) -> Known | None:
    return Known(row["pk"], job_from(row)) if row is not None else None


def get(database: Database, job_id: str) -> Job | None:
    known = find(database, job_id)
    return known.job if known else None


def by_key(database: Database, owner: str, idempotency_key: str) -> Job | None:
    known = known_from(database.execute(_BY_KEY, (owner, idempotency_key)).fetchone())
    return known.job if known else None


def group_id(database: Database, need: Need) -> int:
    """The group of the need, made if it is new."""
    text = need_text(need)
    database.execute("INSERT INTO job_groups (need) VALUES (?) ON CONFLICT (need) DO NOTHING", (text,))
    found: int = database.execute("SELECT id FROM job_groups WHERE need = ?", (text,)).fetchone()[0]
    return found


def submit(database: Database, asked: Sequence[NewJob], by: By | None = None) -> list[Submitted]:
    """One answer for each, in order. Keys may repeat within the batch too."""
    first: dict[tuple[str, str], Fresh] = {}
    fresh: list[Fresh] = []
    answers: list[Submitted] = []
    for one in asked:
        key = (one.need.owner, one.idempotency_key) if one.idempotency_key is not None else None
        earlier = _earlier(database, first, key)
        if earlier is not None:
            job, request_hash = earlier
            answers.append(Submitted(job, created=False, conflict=request_hash != one.request_hash))
            continue
        fresh.append((one, rules.new_job(one)))
        if key is not None:
            first[key] = fresh[-1]
        answers.append(Submitted(fresh[-1][1], created=True))
    _insert(database, fresh)
    if fresh:
        audit.record(database, by, changes.submitted([job for _, job in fresh]))
    return answers


def end(database: Database, known: Known, ending: Ending) -> Job:
    """Moves it to a terminal state and, where somebody asked for it, makes the delivery that tells them."""
    job = known.job
    after = replace(
        job,
        state=advance(JOB_MOVES, job.state, ending.state),
        finished_at=ending.at,
        attempt_id=ending.attempt.id if ending.attempt and ending.result else None,
        result=ending.result,
        fault=ending.fault,
    )
    outcome = (result_text(after.result), fault_text(after.fault))
    database.execute(_END, (after.state, ending.at, after.attempt_id, *outcome, known.pk, job.state))
    event = moves.job_moved(job, after, ending.attempt, who=ending.who, at=ending.at)
    events.record_of_job(database, event, known.pk)
    if job.notify_url:
        told = {"pk": known.pk, "url": job.notify_url, "at": ending.at, "owner": job.need.owner}
        database.execute(_INSERT_DELIVERY, told)
    return after


def requeue(database: Database, known: Known, ending: Ending) -> Job:
    """Back to its original place, in the group that avoids the worker which failed it."""
    job = known.job
    need = rules.avoiding(job.need, ending.attempt.worker_id) if ending.attempt else job.need
    state = advance(JOB_MOVES, job.state, JobState.QUEUED)
    after = replace(job, state=state, attempt_id=None, need=need)
    database.execute(_REQUEUE, (group_id(database, need), known.pk))
    told = replace(after, fault=ending.fault)
    event = moves.job_moved(job, told, ending.attempt, who=ending.who, at=ending.at)
    events.record_of_job(database, event, known.pk)
    return after


def _earlier(
    database: Database, first: dict[tuple[str, str], Fresh], key: tuple[str, str] | None
) -> tuple[Job, str] | None:
    """The job that this key stands for, and the hash of the request that made it."""
    if key is None:
        return None
    if key in first:
        asked, job = first[key]
        return job, asked.request_hash
    row: sqlite3.Row | None = database.execute(_BY_KEY, key).fetchone()
    return (job_from(row), row["request_hash"]) if row is not None else None


def _insert(database: Database, fresh: Sequence[Fresh]) -> None:
    groups = {need: group_id(database, need) for need in {job.need: None for _, job in fresh}}
    last: int = database.execute("SELECT coalesce(max(pk), 0) FROM jobs").fetchone()[0]
    numbered = list(enumerate(fresh, start=last + 1))
    try:
        database.conn.executemany(_INSERT, [_columns(pk, one, groups[one.need]) for pk, (one, _) in numbered])
    except sqlite3.IntegrityError as error:
        if "jobs.id" in str(error):
            raise Duplicate("a job with this id is there already") from error
        raise
    database.execute(_COUNT, (len(fresh),))
    events.record_first(database, [(moves.submitted(job), pk) for pk, (_, job) in numbered])


def _columns(pk: int, job: NewJob, group: int) -> tuple[object, ...]:
    return (
        pk,
        job.id,
        group,
        job.need.owner,
        job.need.project,
        job.need.engine,
        job.created_at,
        rules.must_start_by(job),
        job.complete_by,
        job.start_by,
        job.max_time_s,
        job.retries,
        job.idempotency_key,
        job.request_hash,
        job.retry_of,
        job.notify_url,
        to_json(job.metadata),
        to_json(job.input),
    )

"""The log of moves, written in the transaction of the move."""

import sqlite3

from sqlite_utils import Database

from orchestrator.store.rows import Event
from orchestrator.store.sqlite.values import event_from, to_json

_INSERT = """
    INSERT INTO events (at, kind, who, job_pk, worker_id, seq, before, after, reason, data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RECORD_OF_JOB = """
    INSERT INTO events (at, kind, who, job_pk, worker_id, seq, before, after, reason, data)
    SELECT :at, :kind, :who, :job_pk, :worker_id, coalesce(max(seq), 0) + 1, :before, :after, :reason, :data
    FROM events WHERE job_pk = :job_pk
"""
_OF_JOB = """
    SELECT e.*, j.id AS job_id FROM jobs j JOIN events e ON e.job_pk = j.pk
    WHERE j.id = :job_id AND e.seq > :after AND (:worker_id IS NULL OR e.worker_id = :worker_id)
    ORDER BY e.seq LIMIT :limit
"""
_OF_WORKER = """
    SELECT e.*, j.id AS job_id FROM events e LEFT JOIN jobs j ON j.pk = e.job_pk
    WHERE e.worker_id = :worker_id AND e.id > :after ORDER BY e.id LIMIT :limit
"""
_OF_ALL = """
    SELECT e.*, j.id AS job_id FROM events e LEFT JOIN jobs j ON j.pk = e.job_pk
    WHERE e.id > :after ORDER BY e.id LIMIT :limit
"""


def record(database: Database, event: Event) -> None:
    """An event of no job."""
    database.execute(_INSERT, _columns(event, None))


def record_of_job(database: Database, event: Event, job_pk: int) -> None:
    database.execute(
        _RECORD_OF_JOB,
        {
            "at": event.at,
            "kind": event.kind,
            "who": event.who,
            "job_pk": job_pk,
            "worker_id": event.worker_id,
            "before": event.before,
            "after": event.after,
            "reason": event.reason,
            "data": to_json(event.data),
        },
    )


def record_first(database: Database, first: list[tuple[Event, int]]) -> None:
    """The first events of new jobs, by the jobs' pk; their `seq` is set already."""
    database.conn.executemany(_INSERT, [_columns(event, job_pk) for event, job_pk in first])


def listed(
    database: Database, job_id: str | None, worker_id: str | None, after: int, limit: int
) -> list[Event]:
    query = _OF_JOB if job_id is not None else _OF_WORKER if worker_id is not None else _OF_ALL
    asked = {"job_id": job_id, "worker_id": worker_id, "after": after, "limit": limit}
    found: list[sqlite3.Row] = database.execute(query, asked).fetchall()
    return [event_from(row) for row in found]


def _columns(event: Event, job_pk: int | None) -> tuple[object, ...]:
    return (
        event.at,
        event.kind,
        event.who,
        job_pk,
        event.worker_id,
        event.seq,
        event.before,
        event.after,
        event.reason,
        to_json(event.data),
    )

"""Finished jobs, as far as a replay needs them."""

import sqlite3

from sqlite_utils import Database

from orchestrator.store import rules
from orchestrator.store.past import PastJob
from orchestrator.store.sqlite.values import need_from

_DONE = """
    SELECT g.need, j.created_at, j.complete_by, j.start_by, coalesce(w.gpu_class, '') AS gpu_class,
        max(0.0, coalesce(a.slot_freed_at, a.ended_at, a.started_at) - a.started_at) AS slot_s,
        json_extract(j.result, '$.metrics.MODEL_LOAD_SEC') AS load_s
    FROM jobs j INDEXED BY jobs_listed_by_state
    JOIN job_groups g ON g.id = j.group_id
    JOIN attempts a ON a.id = j.attempt_id
    LEFT JOIN workers w ON w.id = a.worker_id
    WHERE j.state = 'succeeded' AND j.created_at >= ?
    ORDER BY j.created_at DESC, j.id DESC LIMIT ?
"""


def done(database: Database, since: float, limit: int) -> list[PastJob]:
    found = database.execute(_DONE, (since, limit)).fetchall()
    return [_past_job(row) for row in reversed(found)]


def _past_job(row: sqlite3.Row) -> PastJob:
    load_s = rules.load_told(row["load_s"], row["slot_s"])
    return PastJob(
        need=need_from(row["need"]),
        created_at=row["created_at"],
        complete_by=row["complete_by"],
        start_by=row["start_by"],
        gpu_class=row["gpu_class"],
        service_s=row["slot_s"] - (load_s or 0.0),
        load_s=load_s,
    )

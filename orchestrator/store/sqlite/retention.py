"""What is forgotten: finished jobs and what hangs on them, old uploads, workers long gone, faults of hosts."""

import json

from sqlite_utils import Database

from orchestrator.store.rows import Purged
from orchestrator.store.rules import BATCH_MAX

_OLD_JOBS = """
    SELECT pk, id, result FROM jobs WHERE finished_at IS NOT NULL AND finished_at < ?
    ORDER BY finished_at, pk LIMIT ?
"""
_OLD_UPLOADS = """
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
    RETURNING "key"
"""
_OLD_WORKERS = """
    DELETE FROM workers WHERE id IN (
        SELECT id FROM workers WHERE state = 'gone' AND state_at < ? ORDER BY state_at LIMIT ?)
    RETURNING id
"""
_EMPTY_GROUPS = """
    DELETE FROM job_groups
    WHERE NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_by_group WHERE group_id = job_groups.id)
"""
# In this order, since each names a row of a later one.
_OF_JOB = (
    "DELETE FROM events WHERE job_pk = ?",
    "DELETE FROM deliveries WHERE job_pk = ?",
    "DELETE FROM attempts WHERE job_pk = ?",
    "DELETE FROM jobs WHERE pk = ?",
)


def purge(database: Database, finished_before: float, now: float) -> Purged:
    jobs = database.execute(_OLD_JOBS, (finished_before, BATCH_MAX)).fetchall()
    for statement in _OF_JOB:
        database.conn.executemany(statement, [(job["pk"],) for job in jobs])
    keys = [key for job in jobs for key in _keys(job["result"])]
    keys += [key for (key,) in database.execute(_OLD_UPLOADS, (now, BATCH_MAX)).fetchall()]
    workers = database.execute(_OLD_WORKERS, (finished_before, BATCH_MAX)).fetchall()
    forget = "DELETE FROM events WHERE worker_id = ? AND job_pk IS NULL"
    database.conn.executemany(forget, [tuple(worker) for worker in workers])
    database.execute("DELETE FROM host_faults WHERE at < ?", (finished_before,))
    database.execute(_EMPTY_GROUPS)
    return Purged(keys=tuple(keys), job_ids=tuple(job["id"] for job in jobs), workers=len(workers))


def _keys(result: str | None) -> list[str]:
    return [file["key"] for file in json.loads(result)["files"]] if result else []

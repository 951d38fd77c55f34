"""What is forgotten: finished jobs and what hangs on them, old uploads, workers long gone, faults of hosts."""

import json
import sqlite3
from collections.abc import Sequence

from sqlite_utils import Database

from orchestrator.store import changes, rules
from orchestrator.store.past import PLANS_KEPT_S
from orchestrator.store.people import By
from orchestrator.store.rows import Purged
from orchestrator.store.sqlite import jobs
from orchestrator.store.sqlite.accounts import aliases, audit
from orchestrator.store.sqlite.past import plans
from orchestrator.store.sqlite.values import need_text

_OLD_JOBS = """
    SELECT pk, id, result FROM jobs WHERE finished_at IS NOT NULL AND finished_at < ?
    ORDER BY finished_at, pk LIMIT ?
"""
_ENDED_JOB = "SELECT pk, id, result FROM jobs WHERE id = ? AND finished_at IS NOT NULL"
_OLD_SPENDING = """
    DELETE FROM spending WHERE id IN (SELECT id FROM spending WHERE held_until < ? ORDER BY held_until LIMIT ?)
"""
_OLD_UPLOADS = """
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
    RETURNING expires_at, id, "key"
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
_EMPTY_GROUP = f"{_EMPTY_GROUPS} AND need = :need"
# In this order, since each names a row of a later one.
_OF_JOB = (
    "DELETE FROM events WHERE job_pk = ?",
    "DELETE FROM deliveries WHERE job_pk = ?",
    "DELETE FROM attempts WHERE job_pk = ?",
    "DELETE FROM jobs WHERE pk = ?",
)


def purge(database: Database, finished_before: float, now: float) -> Purged:
    ended = database.execute(_OLD_JOBS, (finished_before, rules.BATCH_MAX)).fetchall()
    keys = _remove(database, ended)
    uploads = database.execute(_OLD_UPLOADS, (now, rules.BATCH_MAX)).fetchall()
    keys += [upload["key"] for upload in sorted(uploads, key=tuple)]
    workers = database.execute(_OLD_WORKERS, (finished_before, rules.BATCH_MAX)).fetchall()
    forget = "DELETE FROM events WHERE worker_id = ? AND job_pk IS NULL"
    database.conn.executemany(forget, [tuple(worker) for worker in workers])
    database.execute("DELETE FROM host_faults WHERE at < ?", (finished_before,))
    database.execute(_EMPTY_GROUPS)
    audit.forget(database, now - rules.AUDIT_KEPT_S, rules.BATCH_MAX)
    plans.forget(database, now - PLANS_KEPT_S)
    database.execute(_OLD_SPENDING, (now - rules.SPENDING_KEPT_S, rules.BATCH_MAX))
    return Purged(keys=tuple(keys), job_ids=tuple(job["id"] for job in ended), workers=len(workers))


def forget_job(database: Database, job_id: str, now: float, by: By | None) -> Purged | None:
    found = database.execute(_ENDED_JOB, (job_id,)).fetchall()
    known = jobs.find(database, job_id)
    if not found or known is None:
        return None
    keys = _remove(database, found)
    database.execute(_EMPTY_GROUP, {"need": need_text(known.job.need)})
    audit.record(database, by, changes.forgotten(known.job, now))
    return Purged(keys=tuple(keys), job_ids=(job_id,), workers=0)


def _remove(database: Database, ended: Sequence[sqlite3.Row]) -> list[str]:
    """Returns the storage keys that their results named."""
    for statement in _OF_JOB:
        database.conn.executemany(statement, [(job["pk"],) for job in ended])
    aliases.forget(database, [job["id"] for job in ended])
    return [key for job in ended for key in _keys(job["result"])]


def _keys(result: str | None) -> list[str]:
    return [file["key"] for file in json.loads(result)["files"]] if result else []

"""What plans and pages read of the whole: waiting groups, workers, running attempts, lists of jobs."""

import heapq
import math
from dataclasses import replace
from typing import Any

from sqlite_utils import Database

from orchestrator.store import rules
from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.rows import Attempt, Fleet, Job, JobFilter, QueuedGroup, Sight, Worker
from orchestrator.store.sqlite import history, jobs, workers
from orchestrator.store.sqlite.values import attempt_from, job_from, need_from, worker_from

# Bounded for each group: one seek for each end, and a count that stops.
_GROUPS = """
    SELECT w.group_id, g.need,
        (SELECT count(*) FROM (SELECT 1 FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id = w.group_id LIMIT ?)) AS count,
        (SELECT min(j.created_at) FROM jobs j INDEXED BY jobs_by_group
            WHERE j.group_id = w.group_id AND j.state = 'queued') AS oldest_at,
        (SELECT min(j.must_start_by) FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id = w.group_id) AS must_start_by
    FROM waiting_groups w JOIN job_groups g ON g.id = w.group_id
    ORDER BY oldest_at, g.id
"""
_SINCE = """
    SELECT created_at FROM jobs INDEXED BY jobs_by_group WHERE group_id = ? AND state = 'queued'
    ORDER BY created_at LIMIT ?
"""
_NEXT_SINCE = """
    SELECT created_at, pk FROM jobs INDEXED BY jobs_by_group
    WHERE group_id = ? AND state = 'queued' AND (created_at, pk) > (?, ?) ORDER BY created_at, pk LIMIT 1 OFFSET ?
"""
READ_WHOLE_MAX = 256
"""So many are read at once sooner than some of them one by one."""
_ALIVE = workers.SELECT + "WHERE w.state <> 'gone' ORDER BY w.intended_at, w.id"
_RUNNING = "SELECT * FROM attempts WHERE state = 'running' ORDER BY id"
_PLACES = "SELECT j.created_at, j.id, j.pk FROM jobs j "
_FILTERS = {
    "state": "j.state = :state",
    "engine": "j.engine = :engine",
    "owner": "j.owner = :owner",
    # Named so that the index of the jobs that have a project serves.
    "project": "j.project = :project AND j.project <> ''",
    "created_after": "j.created_at > :created_after",
}


def read(database: Database) -> Fleet:
    return Fleet(
        groups=_groups(database),
        workers=_alive(database),
        attempts=_running(database),
        service=history.service_times(database),
        boot=history.boot_times(database),
        load=history.load_times(database),
        arrived=database.execute("SELECT number FROM jobs_made").fetchone()[0],
    )


def list_jobs(
    database: Database, which: JobFilter, before: tuple[float, str] | None, limit: int
) -> list[Job]:
    if which.seen_by is None:
        query, asked = _listing(jobs.SELECT, which, before)
        return [job_from(row) for row in database.execute(query, asked | {"limit": limit}).fetchall()]
    found: set[tuple[float, str, int]] = set()
    for part in _parts_seen(which, which.seen_by):
        query, asked = _listing(_PLACES, part, before)
        found |= {tuple(row) for row in database.execute(query, asked | {"limit": limit}).fetchall()}
    return [jobs.at(database, pk).job for _, _, pk in heapq.nlargest(limit, found)]


def _parts_seen(which: JobFilter, sight: Sight) -> list[JobFilter]:
    """Filters whose union is what they see, each of which reads one index in order."""
    projects = [one for one in sight.projects if one and which.project in (None, one)]
    parts = [replace(which, project=one) for one in projects]
    if which.owner in (None, sight.owner) and which.project not in projects:
        parts.append(replace(which, owner=sight.owner))
    return parts


def _listing(select: str, which: JobFilter, before: tuple[float, str] | None) -> tuple[str, dict[str, Any]]:
    asked = {name: getattr(which, name) for name in _FILTERS}
    conditions = [_FILTERS[name] for name, value in asked.items() if value is not None]
    if before is not None:
        asked |= {"before_at": before[0], "before_id": before[1]}
        conditions.append("(j.created_at, j.id) < (:before_at, :before_id)")
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"{select}{where}ORDER BY j.created_at DESC, j.id DESC LIMIT :limit", asked


def _groups(database: Database) -> tuple[QueuedGroup, ...]:
    found = database.execute(_GROUPS, (GROUP_COUNT_MAX,)).fetchall()
    return tuple(
        QueuedGroup(
            need_from(need), count, oldest_at, must_start_by, _since(database, group, count, oldest_at)
        )
        for group, need, count, oldest_at, must_start_by in found
    )


def _since(database: Database, group: int, count: int, oldest_at: float) -> tuple[float, ...]:
    """When its jobs came, at even ranks; of many, one seek for each rank from the one before."""
    if count == 1:
        return (oldest_at,)
    ranks = rules.even_ranks(count)
    if count <= READ_WHOLE_MAX:
        came = database.execute(_SINCE, (group, count)).fetchall()
        return tuple(came[rank][0] for rank in ranks)
    found: list[float] = []
    at, pk, passed = -math.inf, 0, 0
    for rank in ranks:
        at, pk = database.execute(_NEXT_SINCE, (group, at, pk, rank - passed)).fetchone()
        found.append(at)
        passed = rank + 1
    return tuple(found)


def _alive(database: Database) -> tuple[Worker, ...]:
    return tuple(worker_from(row) for row in database.execute(_ALIVE))


def _running(database: Database) -> tuple[tuple[Attempt, Job], ...]:
    pairs = []
    for row in database.execute(_RUNNING).fetchall():
        job = jobs.at(database, row["job_pk"]).job
        pairs.append((attempt_from(row, job.id), job))
    return tuple(pairs)

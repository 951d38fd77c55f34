"""What plans and pages read of the whole: waiting groups, workers, running attempts, lists of jobs."""

import heapq
from dataclasses import replace
from typing import Any

from sqlite_utils import Database

from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.rows import Attempt, Fleet, Job, JobFilter, QueuedGroup, Sight, Worker
from orchestrator.store.sqlite import history, jobs, workers
from orchestrator.store.sqlite.values import attempt_from, job_from, need_from, worker_from

# Bounded for each group: one seek for each end, and a count that stops.
_GROUPS = """
    SELECT g.need,
        (SELECT count(*) FROM (SELECT 1 FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id = w.group_id LIMIT ?)) AS count,
        (SELECT min(j.created_at) FROM jobs j INDEXED BY jobs_by_group
            WHERE j.group_id = w.group_id AND j.state = 'queued') AS oldest_at,
        (SELECT min(j.must_start_by) FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id = w.group_id) AS must_start_by
    FROM waiting_groups w JOIN job_groups g ON g.id = w.group_id
    ORDER BY oldest_at, g.id
"""
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
    return tuple(
        QueuedGroup(need_from(need), count, oldest_at, must_start_by)
        for need, count, oldest_at, must_start_by in database.execute(_GROUPS, (GROUP_COUNT_MAX,))
    )


def _alive(database: Database) -> tuple[Worker, ...]:
    return tuple(worker_from(row) for row in database.execute(_ALIVE))


def _running(database: Database) -> tuple[tuple[Attempt, Job], ...]:
    pairs = []
    for row in database.execute(_RUNNING).fetchall():
        job = jobs.at(database, row["job_pk"]).job
        pairs.append((attempt_from(row, job.id), job))
    return tuple(pairs)

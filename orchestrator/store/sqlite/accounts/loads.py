"""What an owner or a project has in hand, and what it has spent."""

from sqlite_utils import Database

from orchestrator.store.rows import Load

_OF_OWNER = """
    SELECT (SELECT count(*) FROM jobs INDEXED BY jobs_queued_by_owner WHERE state = 'queued' AND owner = :of),
        (SELECT count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND owner = :of)
"""
# Each says `<> ''`, so that the index of what has a project serves.
_OF_PROJECT = """
    SELECT (SELECT count(*) FROM jobs INDEXED BY jobs_queued_by_project
            WHERE state = 'queued' AND project = :of AND project <> ''),
        (SELECT count(*) FROM jobs INDEXED BY jobs_running_by_project
            WHERE state = 'running' AND project = :of AND project <> '')
"""
_HELD = """
    SELECT held_from, held_until, usd_per_hour FROM spending INDEXED BY spending_by_owner
    WHERE owner = :of AND held_until > :since
    UNION ALL
    SELECT a.started_at, :now, w.usd_per_hour FROM jobs j INDEXED BY jobs_running
    JOIN attempts a ON a.id = j.attempt_id JOIN workers w ON w.id = a.worker_id
    WHERE j.state = 'running' AND j.owner = :of AND a.slot_freed_at IS NULL
"""
_HELD_IN_PROJECT = """
    SELECT held_from, held_until, usd_per_hour FROM spending INDEXED BY spending_by_project
    WHERE project = :of AND project <> '' AND held_until > :since
    UNION ALL
    SELECT a.started_at, :now, w.usd_per_hour FROM jobs j INDEXED BY jobs_running_by_project
    JOIN attempts a ON a.id = j.attempt_id JOIN workers w ON w.id = a.worker_id
    WHERE j.state = 'running' AND j.project = :of AND j.project <> '' AND a.slot_freed_at IS NULL
"""
_SUM = """
    SELECT coalesce(sum(max(0, min(held_until, :now) - max(held_from, :since)) * usd_per_hour / 3600), 0.0)
    FROM ({})
"""
_SPENT = _SUM.format(_HELD)
_SPENT_IN_PROJECT = _SUM.format(_HELD_IN_PROJECT)


def load(database: Database, owner: str | None, project: str | None) -> Load:
    query, of = (_OF_OWNER, owner) if project is None else (_OF_PROJECT, project)
    queued, running = database.execute(query, {"of": of}).fetchone()
    return Load(queued, running)


def spent(database: Database, owner: str | None, project: str | None, since: float, now: float) -> float:
    query, of = (_SPENT, owner) if project is None else (_SPENT_IN_PROJECT, project)
    usd: float = database.execute(query, {"of": of, "since": since, "now": now}).fetchone()[0]
    return usd

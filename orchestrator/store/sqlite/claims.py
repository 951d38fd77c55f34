"""Claims: what a worker gets next. Their cost grows with the groups that wait, never with the queue."""

import sqlite3
from dataclasses import dataclass, field, replace

from sqlite_utils import Database

from orchestrator.store import moves, rules
from orchestrator.store.rows import Claimed, Job, Worker
from orchestrator.store.sqlite import attempts, events, jobs, workers
from orchestrator.store.sqlite.values import need_from
from scaling.limits import NO_LIMITS, RunningCounts, RunningLimits, count, has_room
from scaling.place import Candidate, Holds, choose, warm
from scaling.snapshot import Need

# The head of each group: what must start first, then what is oldest. What is past its limit is not begun.
_HEADS = """
    WITH heads (group_id, pk) AS (
        SELECT group_id, (
            SELECT j.pk FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id = w.group_id AND j.must_start_by > ?
            ORDER BY j.must_start_by, j.created_at, j.pk LIMIT 1)
        FROM waiting_groups w
    )
    SELECT j.pk, h.group_id, g.need, j.created_at, j.must_start_by
    FROM heads h JOIN jobs j ON j.pk = h.pk JOIN job_groups g ON g.id = h.group_id
    ORDER BY j.created_at, j.pk
"""
_WAITING = """
    SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_head
        WHERE state = 'queued' AND group_id = ? AND must_start_by > ? LIMIT ?)
"""
_RUNNING_BY_OWNER = """
    SELECT owner, count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running' GROUP BY owner
"""
_RUNNING_BY_NEED = """
    SELECT g.need, r.number FROM (
        SELECT group_id, count(*) AS number FROM jobs INDEXED BY jobs_running
        WHERE state = 'running' GROUP BY group_id
    ) r JOIN job_groups g ON g.id = r.group_id
"""
_SLOTS_HELD = """
    SELECT count(*) FROM attempts WHERE worker_id = ? AND state = 'running' AND slot_freed_at IS NULL
"""
_BY_NONCE = "SELECT id FROM attempts WHERE worker_id = ? AND incarnation = ? AND nonce = ?"
_BEGIN = """
    INSERT INTO attempts (job_pk, number, worker_id, incarnation, nonce, state, phase, progress, started_at,
        reported_at, loads)
    SELECT pk, attempts + 1, :worker_id, :incarnation, :nonce, 'running', 'preparing', 0, :now, :now, :loads
    FROM jobs WHERE pk = :pk
    RETURNING id
"""
_TAKE = """
    UPDATE jobs SET state = 'running', attempt_id = ?, attempts = attempts + 1,
        started_at = coalesce(started_at, ?), must_start_by = complete_by
    WHERE pk = ? AND state = 'queued'
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is held back: from everybody, and from workers that have not its model; and when a job is late."""

    limits: RunningLimits = NO_LIMITS
    holds: Holds = field(default_factory=dict)
    patience_s: float | None = None


NO_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Head:
    """The next job of a group."""

    need: Need
    pk: int
    group: int
    created_at: float
    start_by: float


@dataclass(frozen=True, slots=True)
class Asker:
    worker_id: str
    incarnation: str
    nonce: str
    resident: tuple[str, ...]


def claim(database: Database, asker: Asker, now: float, bounds: Bounds = NO_BOUNDS) -> Claimed | None:
    worker = workers.get(database, asker.worker_id)
    if worker is None or worker.incarnation != asker.incarnation or worker.state not in rules.SERVING:
        return None
    workers.note_claim(database, asker.worker_id, now)
    repeated = _repeated(database, asker)
    if repeated is not None:
        return attempts.running(database, repeated)
    if not rules.may_claim(worker) or not _has_free_slot(database, worker):
        return None
    head = _next(database, replace(worker, resident=asker.resident), now, bounds)
    return _take(database, head, asker, now) if head is not None else None


def peek(database: Database, worker_id: str, bounds: Bounds = NO_BOUNDS) -> Job | None:
    worker = workers.get(database, worker_id)
    if worker is None or not rules.may_claim(worker):
        return None
    last_seen = max(worker.heartbeat_at or 0.0, worker.claim_at or 0.0)
    head = _next(database, worker, last_seen, bounds)
    return jobs.at(database, head.pk).job if head is not None else None


def _repeated(database: Database, asker: Asker) -> int | None:
    said = (asker.worker_id, asker.incarnation, asker.nonce)
    row: sqlite3.Row | None = database.execute(_BY_NONCE, said).fetchone()
    return row["id"] if row is not None else None


def _has_free_slot(database: Database, worker: Worker) -> bool:
    held: int = database.execute(_SLOTS_HELD, (worker.id,)).fetchone()[0]
    return held < worker.capacity


def _next(database: Database, worker: Worker, now: float, bounds: Bounds) -> Head | None:
    heads = {
        (need := need_from(text)): Head(need, pk, group, created_at, start_by)
        for pk, group, text, created_at, start_by in database.execute(_HEADS, (now,)).fetchall()
    }
    if not heads:
        return None
    running = _running(database, bounds.limits)
    chosen = choose(
        [
            _candidate(database, head, now, bounds.holds)
            for need, head in heads.items()
            if has_room(need, bounds.limits, running)
        ],
        rules.host(worker, now),
        host_id=worker.id,
        resident=worker.resident,
        running_by_owner=running.owners,
        holds=bounds.holds,
        patience_s=bounds.patience_s,
    )
    return heads[chosen] if chosen is not None else None


def _candidate(database: Database, head: Head, now: float, holds: Holds) -> Candidate:
    """Counted only where some are held, and no further than shows whether one is not."""
    count = 1
    if holds and (held := holds.get(head.need, 0)):
        count = database.execute(_WAITING, (head.group, now, held + 1)).fetchone()[0]
    return rules.candidate(head.need, head.created_at, head.start_by, now, count)


def _running(database: Database, limits: RunningLimits) -> RunningCounts:
    """What runs; by owner alone, where no limit asks for more."""
    if limits.bound_nothing:
        return RunningCounts(owners=dict(database.execute(_RUNNING_BY_OWNER).fetchall()))
    found = database.execute(_RUNNING_BY_NEED).fetchall()
    return count((need_from(text), number) for text, number in found)


def _take(database: Database, head: Head, asker: Asker, now: float) -> Claimed | None:
    said = {
        "worker_id": asker.worker_id,
        "incarnation": asker.incarnation,
        "nonce": asker.nonce,
        "now": now,
        "pk": head.pk,
        "loads": not warm(head.need, asker.resident),
    }
    attempt_id: int = database.execute(_BEGIN, said).fetchone()[0]
    database.execute(_TAKE, (attempt_id, now, head.pk))
    begun = attempts.running(database, attempt_id)
    if begun is not None:
        events.record_of_job(database, moves.claimed(begun.job, begun.attempt), head.pk)
    return begun

"""Claims: what a worker gets next. Their cost grows with the groups that wait, never with the queue."""

import sqlite3
from dataclasses import dataclass, field, replace
from itertools import groupby

from sqlite_utils import Database

from orchestrator.store import moves, rules
from orchestrator.store.protocol import AHEAD_MAX
from orchestrator.store.rows import Claimed, Job, Worker
from orchestrator.store.sqlite import attempts, events, jobs, workers
from orchestrator.store.sqlite.values import need_from
from scaling.limits import NO_LIMITS, RunningCounts, RunningLimits, count, has_room
from scaling.place import Candidate, Holds, Patience, choose, warm
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
    SELECT g.need, j.pk, h.group_id, j.created_at, j.must_start_by
    FROM heads h JOIN jobs j ON j.pk = h.pk JOIN job_groups g ON g.id = h.group_id
    ORDER BY j.created_at, j.pk
"""
# Of one group: the oldest of those that came since a moment, and the few that must start first.
_OLDEST_SINCE = """
    SELECT pk, created_at, must_start_by FROM jobs INDEXED BY jobs_by_group
    WHERE group_id = ? AND state = 'queued' AND created_at >= ? AND must_start_by > ?
    ORDER BY created_at, pk LIMIT 1
"""
_AHEAD = """
    SELECT pk, created_at, must_start_by FROM jobs INDEXED BY jobs_head
    WHERE state = 'queued' AND group_id = ? AND must_start_by > ?
    ORDER BY must_start_by, created_at, pk LIMIT ?
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
    patience: Patience | None = None


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
    """Looked for by priority: a group is looked into only if none of a higher one has a job for this worker."""
    found = database.execute(_HEADS, (now,)).fetchall()
    if not found:
        return None
    running = _running(database, bounds.limits)
    heads = [Head(need_from(text), *row) for text, *row in found]
    able = [one for one in heads if has_room(one.need, bounds.limits, running)]
    for _, equals in groupby(sorted(able, key=_rank), key=_rank):
        heads = _in_time(database, list(equals), worker, now, bounds.patience)
        chosen = choose(
            [_candidate(database, head, now, bounds.holds) for head in heads],
            rules.host(worker, now),
            host_id=worker.id,
            resident=worker.resident,
            running_by_owner=running.owners,
            holds=bounds.holds,
            patience=bounds.patience,
        )
        if chosen is not None:
            return next(head for head in heads if head.need == chosen)
    return None


def _rank(head: Head) -> tuple[bool, int]:
    return head.need.low_priority, -head.need.priority


def _in_time(
    database: Database, heads: list[Head], worker: Worker, now: float, patience: Patience | None
) -> list[Head]:
    """The next of each group on this worker, the oldest first."""
    if patience is None:
        return heads
    found = [_next_of(database, head, worker, now, patience) for head in heads]
    return sorted(found, key=lambda head: (head.created_at, head.pk))


def _next_of(database: Database, head: Head, worker: Worker, now: float, patience: Patience) -> Head:
    """The head, unless it is passed over for one of its group that is in time on a worker with these models, or is not
    for a machine that may be taken away.
    """
    patience, slack_s = patience.of(head.need), head.start_by - now
    stay = patience.barred(head.need, rules.host(worker, now))
    if stay is not None and stay.bars(slack_s):
        row = database.execute(_AHEAD, (head.group, now + stay.most_s, 1)).fetchone()
        return head if row is None else _head(head, row)
    is_warm, urgent_s = warm(head.need, worker.resident), patience.urgent_s(head.need)
    if not patience.passes_over(now - head.created_at, slack_s, is_warm=is_warm, urgent_s=urgent_s):
        return head
    since = now - patience.late_s(is_warm=is_warm)
    oldest = database.execute(_OLDEST_SINCE, (head.group, since, now)).fetchone()
    if oldest is None:
        return head
    ahead = database.execute(_AHEAD, (head.group, now, AHEAD_MAX)).fetchall()
    return _head(head, next((row for row in ahead if row["created_at"] >= since), oldest))


def _head(before: Head, row: sqlite3.Row) -> Head:
    """Another job of the same group."""
    return Head(before.need, row["pk"], before.group, row["created_at"], row["must_start_by"])


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

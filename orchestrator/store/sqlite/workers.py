"""Workers: intended, enrolled, moved, registered, heard from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlite_utils import Database

from orchestrator.store import changes, moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import By
from orchestrator.store.rows import (
    Beat,
    Enrolment,
    InstanceFacts,
    NewWorker,
    Registration,
    Worker,
    WorkerMove,
)
from orchestrator.store.sqlite import attempts, events, history, leases
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.values import capabilities_text, to_json, worker_from
from scaling.states import WORKER_MOVES, WorkerState, advance

SELECT = """
    SELECT w.*, l.started_at AS lease_from, l.ended_at AS lease_until
    FROM workers w LEFT JOIN leases l ON l.worker_id = w.id
"""
_BY_ID = SELECT + "WHERE w.id = ?"
_LISTED = SELECT + "ORDER BY w.intended_at DESC, w.id DESC LIMIT ?"
_LISTED_ALIVE = SELECT + "WHERE w.state <> 'gone' ORDER BY w.intended_at DESC, w.id DESC LIMIT ?"
_INTEND = """
    INSERT INTO workers (id, provider, gpu_class, offered_class, state, usd_per_hour, state_at, intended_at,
        buy_at, key_hash, boot_billed, granularity_s, min_billed_s)
    VALUES (?, ?, ?, ?, 'intended', ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""
# A row that begins anew takes the old one's place: no move leads out of `gone`.
_ENROL = """
    INSERT OR REPLACE INTO workers (id, provider, gpu_class, offered_class, state, usd_per_hour, state_at,
        intended_at, buy_at, key_hash, boot_billed, granularity_s, min_billed_s, owned, jobs_done, paused)
    VALUES (:id, :provider, :gpu_class, :gpu_class, :state, :usd_per_hour, :state_at,
        :intended_at, :buy_at, :key_hash, :boot_billed, :granularity_s, :min_billed_s, :owned, :jobs_done, :paused)
"""
_MOVE = """
    UPDATE workers SET state = :to, state_at = :now,
        creating_at = iif(:to = 'creating', :now, creating_at),
        ready_at = iif(:to = 'ready', :now, ready_at)
    WHERE id = :id AND state = :before
"""
_REGISTER = """
    UPDATE workers SET incarnation = ?, capabilities = ?, gpu_class = ?, vram_gb = ?, capacity = ?,
        queues = ?, usd_per_hour = ?, heartbeat_at = ?
    WHERE id = ?
"""
_FORGET_BEFORE = """
    UPDATE workers SET claim_at = NULL, resident = '[]', error = NULL, probe_failures = 0 WHERE id = ?
"""
_BEAT = """
    UPDATE workers SET heartbeat_at = :at, resident = :resident, error = :error
    WHERE id = :id AND state IN ('ready', 'draining') AND incarnation IS coalesce(:incarnation, incarnation)
"""
_PROBE = "UPDATE workers SET probe_failures = iif(?, 0, probe_failures + 1) WHERE id = ?"
_NOTE_INSTANCE = """
    UPDATE workers SET instance_id = ?, lease_ends_at = ?, address = ?, host_id = ? WHERE id = ?
"""
_KNOWN_INSTANCES = """
    SELECT instance_id, id FROM workers WHERE provider = ? AND instance_id IS NOT NULL ORDER BY intended_at, id
"""


def get(database: Database, worker_id: str) -> Worker | None:
    row = database.execute(_BY_ID, (worker_id,)).fetchone()
    return worker_from(row) if row is not None else None


def listed(database: Database, limit: int, *, include_gone: bool) -> list[Worker]:
    query = _LISTED if include_gone else _LISTED_ALIVE
    return [worker_from(row) for row in database.execute(query, (limit,)).fetchall()]


def intend(database: Database, worker: NewWorker) -> None:
    billing = (worker.boot_billed, worker.granularity_s, worker.min_billed_s)
    offer = (worker.provider, worker.gpu_class, worker.gpu_class, worker.usd_per_hour)
    times = (worker.intended_at, worker.intended_at, worker.buy_at)
    made = database.execute(_INTEND, (worker.id, *offer, *times, worker.key_hash, *billing))
    if made.rowcount == 0:
        raise Duplicate("a worker with this id is there already")
    events.record(database, moves.intended(worker))


def enrol(database: Database, enrolment: Enrolment) -> bool:
    before = get(database, enrolment.id)
    worker = rules.enrolled(enrolment, before)
    if worker is None:
        return False
    database.execute(_ENROL, asdict(worker))
    events.record(database, moves.enrolled(worker, again=before is not None))
    return True


def rekey(database: Database, worker_id: str, key_hash: str) -> None:
    database.execute("UPDATE workers SET key_hash = ? WHERE id = ?", (key_hash, worker_id))


def move(database: Database, worker_id: str, wanted: WorkerMove, now: float) -> bool:
    for before in wanted.expected:
        advance(WORKER_MOVES, before, wanted.to)
    worker = get(database, worker_id)
    if worker is None or worker.state not in wanted.expected:
        return False
    _move(database, worker, wanted, now)
    return True


def register(database: Database, worker_id: str, said: Registration, now: float) -> bool:
    worker = get(database, worker_id)
    if worker is None:
        return False
    booting = WorkerState.READY in WORKER_MOVES[worker.state]
    if not booting and worker.state not in rules.SERVING:
        return False
    if booting:
        arrived = WorkerMove(WorkerState.READY, (worker.state,), moves.of_worker(worker_id), "registered")
        _move(database, worker, arrived, now)
    if worker.incarnation != said.incarnation:
        database.execute(_FORGET_BEFORE, (worker_id,))
        if not booting:
            attempts.lose_all(database, worker_id, (), "the worker started again", now)
            events.record(database, moves.restarted(worker, now))
    machine = (said.gpu_class, said.vram_gb, said.capacity, to_json(said.queues))
    offers = (capabilities_text(said.capabilities), *machine)
    database.execute(_REGISTER, (said.incarnation, *offers, rules.price(worker, said), now, worker_id))
    return True


def record_beats(database: Database, beats: Sequence[Beat]) -> dict[str, bool]:
    return {beat.worker_id: _beat(database, beat) for beat in beats}


def note_claim(database: Database, worker_id: str, now: float) -> None:
    database.execute("UPDATE workers SET claim_at = ? WHERE id = ?", (now, worker_id))


def note_instance(database: Database, worker_id: str, facts: InstanceFacts) -> None:
    worker = get(database, worker_id)
    if worker is not None and worker.state is not WorkerState.GONE:
        _note_instance(database, worker, facts)


def known_instances(database: Database, provider: str) -> dict[str, str]:
    return dict(database.execute(_KNOWN_INSTANCES, (provider,)).fetchall())


def note_probe(database: Database, worker_id: str, *, healthy: bool) -> None:
    database.execute(_PROBE, (healthy, worker_id))


@dataclass(frozen=True, slots=True)
class Pause:
    """Whether it is one, or the end of one."""

    on: bool
    who: str
    at: float
    by: By | None = None


def pause(database: Database, worker_id: str, wanted: Pause) -> bool:
    worker = get(database, worker_id)
    if worker is None or worker.state is WorkerState.GONE:
        return False
    if worker.paused != wanted.on:
        database.execute("UPDATE workers SET paused = ? WHERE id = ?", (wanted.on, worker_id))
        events.record(database, moves.paused(worker_id, on=wanted.on, who=wanted.who, now=wanted.at))
        audit.record(database, wanted.by, changes.paused(worker_id, wanted.at, on=wanted.on))
    return True


def _beat(database: Database, beat: Beat) -> bool:
    said = {
        "id": beat.worker_id,
        "at": beat.at,
        "resident": to_json(beat.resident),
        "error": beat.error,
        "incarnation": beat.incarnation,
    }
    return database.execute(_BEAT, said).rowcount == 1


def _move(database: Database, worker: Worker, wanted: WorkerMove, now: float) -> None:
    """The move itself and all that hangs on it: the lease, the boot's duration, the attempts of a machine that goes."""
    to = advance(WORKER_MOVES, worker.state, wanted.to)
    database.execute(_MOVE, {"to": to, "now": now, "id": worker.id, "before": worker.state})
    if wanted.instance is not None:
        worker = _note_instance(database, worker, wanted.instance)
    events.record(database, moves.worker_moved(worker, wanted, now))
    if to is WorkerState.READY or (to is WorkerState.CREATING and worker.boot_billed):
        leases.start(database, worker.id, now)
    if to is WorkerState.READY:
        _note_boot(database, worker, now)
    if to is WorkerState.STOPPING:
        attempts.lose_all(database, worker.id, (), wanted.reason, now)
    if to is WorkerState.GONE:
        never_made = worker.instance_id is None and worker.ready_at is None
        leases.end(database, worker.id, now, never_made=never_made)


def _note_instance(database: Database, worker: Worker, facts: InstanceFacts) -> Worker:
    after = rules.with_instance(worker, facts)
    known = (after.instance_id, after.lease_ends_at, after.address, after.host_id)
    database.execute(_NOTE_INSTANCE, (*known, worker.id))
    leases.name_instance(database, worker.id, facts.id)
    return after


def _note_boot(database: Database, worker: Worker, now: float) -> None:
    """Under the class that was offered, which is the one that the next launch will ask for."""
    if worker.creating_at is None:
        return
    [offered] = database.execute("SELECT offered_class FROM workers WHERE id = ?", (worker.id,)).fetchone()
    history.boot_took(database, worker.provider, offered, max(0.0, now - worker.creating_at))

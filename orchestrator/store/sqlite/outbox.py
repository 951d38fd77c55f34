"""Webhooks that are due, and every try of them."""

import sqlite3
from dataclasses import dataclass, replace

from sqlite_utils import Database

from orchestrator.store import changes
from orchestrator.store.people import By
from orchestrator.store.rows import Delivery, DeliveryState, DeliveryTry
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.values import integer

_SELECT = """
    SELECT d.id, j.id AS job_id, d.url, d.tries, d.due_at, d.done_at, d.last_error, d.owner, d.created_at,
        d.held_since
    FROM deliveries d JOIN jobs j ON j.pk = d.job_pk
"""
_DUE = _SELECT + "WHERE d.done_at IS NULL AND d.due_at <= ? ORDER BY d.due_at, d.id LIMIT ?"
_BY_ID = _SELECT + "WHERE d.id = ?"
_LISTED = _SELECT + "WHERE {} ORDER BY d.id LIMIT :limit"
_FILTERS = {"job_id": "j.id = :job_id", "owner": "d.owner = :owner", "after": "d.id > :after"}
_STATES = {
    DeliveryState.PENDING: "d.done_at IS NULL",
    DeliveryState.ARRIVED: "d.done_at IS NOT NULL AND d.last_error IS NULL",
    DeliveryState.FAILED: "d.done_at IS NOT NULL AND d.last_error IS NOT NULL",
}
_TRIES = "SELECT at, status, error FROM delivery_tries WHERE delivery_id = ? ORDER BY id"
_REPLAY = """
    UPDATE deliveries SET due_at = ?, tries = 0, done_at = NULL, last_error = NULL, held_since = NULL WHERE id = ?
"""
_COUNT = """
    UPDATE deliveries SET tries = tries + 1, last_error = :error, held_since = iif(:status IS NULL, held_since, NULL),
        due_at = coalesce(:next_at, due_at), done_at = iif(:next_at IS NULL, :now, NULL)
    WHERE id = :delivery_id AND done_at IS NULL
"""
_PUT_OFF = """
    UPDATE deliveries SET due_at = coalesce(:until, due_at), done_at = iif(:until IS NULL, :now, NULL),
        last_error = coalesce(:reason, last_error),
        held_since = iif(:reason IS NULL, held_since, coalesce(held_since, :now))
    WHERE id = :delivery_id AND done_at IS NULL
"""
_KEEP = (
    "INSERT INTO delivery_tries (delivery_id, at, status, error) VALUES (:delivery_id, :now, :status, :error)"
)


@dataclass(frozen=True, slots=True)
class Try:
    """One try. Without an error it arrived; with one it is due again at `next_at`, if that is given."""

    delivery_id: int
    status: int | None
    error: str | None
    now: float
    next_at: float | None


@dataclass(frozen=True, slots=True)
class PutOff:
    """Deliveries that are not tried now, but at `until`, or never where that is None."""

    delivery_ids: tuple[int, ...]
    until: float | None
    reason: str | None
    now: float


@dataclass(frozen=True, slots=True)
class Which:
    """What a listing shows; None means all."""

    job_id: str | None
    owner: str | None
    state: DeliveryState | None
    after: int


def due(database: Database, now: float, limit: int) -> list[Delivery]:
    return [_delivery(row) for row in database.execute(_DUE, (now, limit)).fetchall()]


def listed(database: Database, which: Which, limit: int) -> list[Delivery]:
    asked = {name: getattr(which, name) for name in _FILTERS} | {"after": integer(which.after)}
    conditions = [text for name, text in _FILTERS.items() if asked[name] is not None]
    if which.state is not None:
        conditions.append(_STATES[which.state])
    query = _LISTED.format(" AND ".join(conditions))
    return [_delivery(row) for row in database.execute(query, asked | {"limit": limit}).fetchall()]


def get(database: Database, delivery_id: int) -> Delivery | None:
    row = database.execute(_BY_ID, (integer(delivery_id),)).fetchone()
    return _delivery(row) if row is not None else None


def tries(database: Database, delivery_id: int) -> list[DeliveryTry]:
    return [DeliveryTry(**dict(row)) for row in database.execute(_TRIES, (integer(delivery_id),)).fetchall()]


def replay(database: Database, delivery_id: int, by: By | None, now: float) -> Delivery | None:
    before = get(database, delivery_id)
    if before is None:
        return None
    database.execute(_REPLAY, (now, delivery_id))
    after = replace(before, due_at=now, tries=0, done_at=None, last_error=None, held_since=None)
    audit.record(database, by, changes.replayed(before, after, now))
    return after


def record(database: Database, tried: Try) -> None:
    """A delivery that is done already is left as it is."""
    said = {
        "delivery_id": tried.delivery_id,
        "status": tried.status,
        "error": tried.error,
        "now": tried.now,
        "next_at": tried.next_at if tried.error is not None else None,
    }
    if database.execute(_COUNT, said).rowcount:
        database.execute(_KEEP, said)


def put_off(database: Database, which: PutOff) -> None:
    said = {"until": which.until, "reason": which.reason, "now": which.now}
    rows = [said | {"delivery_id": number} for number in which.delivery_ids]
    database.conn.executemany(_PUT_OFF, rows)


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(**dict(row))

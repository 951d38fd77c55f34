"""Webhooks that are due, and every try of them."""

import sqlite3
from dataclasses import dataclass

from sqlite_utils import Database

from orchestrator.store.rows import Delivery

_SELECT = """
    SELECT d.id, j.id AS job_id, d.url, d.tries, d.due_at, d.done_at, d.last_error
    FROM deliveries d JOIN jobs j ON j.pk = d.job_pk
"""
_DUE = _SELECT + "WHERE d.done_at IS NULL AND d.due_at <= ? ORDER BY d.due_at, d.id LIMIT ?"
_OF_JOB = _SELECT + "WHERE j.id = ? ORDER BY d.id"
_COUNT = """
    UPDATE deliveries SET tries = tries + 1, last_error = :error,
        due_at = coalesce(:next_at, due_at), done_at = iif(:next_at IS NULL, :now, NULL)
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


def due(database: Database, now: float, limit: int) -> list[Delivery]:
    return [_delivery(row) for row in database.execute(_DUE, (now, limit)).fetchall()]


def of_job(database: Database, job_id: str) -> list[Delivery]:
    return [_delivery(row) for row in database.execute(_OF_JOB, (job_id,)).fetchall()]


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


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(**dict(row))

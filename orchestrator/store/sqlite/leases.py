"""Leases: begun, ended, voided, and corrected by what the provider says that it billed."""

from dataclasses import asdict

from sqlite_utils import Database

from orchestrator.store.rows import Lease
from provider_clients.base import Receipt

_START = """
    INSERT INTO leases (worker_id, provider, gpu_class, usd_per_hour, started_at, granularity_s, min_billed_s,
        instance_id)
    SELECT id, provider, gpu_class, usd_per_hour, ?, granularity_s, min_billed_s, instance_id
    FROM workers WHERE id = ? AND NOT owned
    ON CONFLICT (worker_id) DO NOTHING
"""
_END = "UPDATE leases SET ended_at = ? WHERE worker_id = ? AND ended_at IS NULL"
_VOID = "DELETE FROM leases WHERE worker_id = ? AND ended_at IS NULL"
_NAME = "UPDATE leases SET instance_id = ? WHERE worker_id = ?"
_CORRECT = "UPDATE leases SET started_at = ?, ended_at = ?, billed_s = ? WHERE worker_id = ?"
_RECORD = """
    INSERT OR REPLACE INTO leases (worker_id, provider, gpu_class, usd_per_hour, started_at, ended_at,
        granularity_s, min_billed_s, busy_s, billed_s, instance_id)
    VALUES (:worker_id, :provider, :gpu_class, :usd_per_hour, :started_at, :ended_at,
        :granularity_s, :min_billed_s, :busy_s, :billed_s, :instance_id)
"""
_LISTED = "SELECT * FROM leases WHERE ended_at IS NULL OR ended_at > ? ORDER BY started_at, worker_id"


def listed(database: Database, since: float) -> list[Lease]:
    return [Lease(**dict(row)) for row in database.execute(_LISTED, (since,)).fetchall()]


def get(database: Database, worker_id: str) -> Lease | None:
    row = database.execute("SELECT * FROM leases WHERE worker_id = ?", (worker_id,)).fetchone()
    return Lease(**dict(row)) if row is not None else None


def start(database: Database, worker_id: str, at: float) -> None:
    """One for a worker. What its owner lends us has none."""
    database.execute(_START, (at, worker_id))


def end(database: Database, worker_id: str, now: float, *, never_made: bool) -> None:
    """What was never made was never billed, and leaves no lease. One that has ended stays."""
    if never_made:
        database.execute(_VOID, (worker_id,))
    else:
        database.execute(_END, (now, worker_id))


def name_instance(database: Database, worker_id: str, instance_id: str) -> None:
    database.execute(_NAME, (instance_id, worker_id))


def note_receipt(database: Database, worker_id: str, receipt: Receipt) -> None:
    start(database, worker_id, receipt.started_at)
    billed = (receipt.started_at, receipt.ended_at, receipt.billed_s)
    database.execute(_CORRECT, (*billed, worker_id))


def record(database: Database, lease: Lease) -> None:
    database.execute(_RECORD, asdict(lease))

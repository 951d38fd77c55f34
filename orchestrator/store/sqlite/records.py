"""Settings, and hosts that failed us."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from orchestrator.store import changes, moves
from orchestrator.store.people import By
from orchestrator.store.rows import HostFault
from orchestrator.store.sqlite import events
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.values import to_json

_WRITE_SETTING = """
    INSERT INTO settings (name, value, written_at, who) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET
        value = excluded.value, written_at = excluded.written_at, who = excluded.who
"""
_ADD_HOST_FAULT = """
    INSERT INTO host_faults (provider, host_id, worker_id, reason, at)
    VALUES (:provider, :host_id, :worker_id, :reason, :at)
    ON CONFLICT DO NOTHING
"""
_HOST_FAULTS = "SELECT * FROM host_faults WHERE at >= ? ORDER BY at, worker_id, reason"


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: Any
    who: str
    at: float


def read_setting(database: Database, name: str) -> Any | None:
    row = database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return json.loads(row["value"]) if row is not None else None


def write_setting(database: Database, written: Setting, by: By | None) -> None:
    before = read_setting(database, written.name)
    note(database, written)
    events.record(database, moves.setting_written(written.name, written.who, written.at))
    audit.record(database, by, changes.setting_written(written.name, before, written.value, written.at))


def note(database: Database, written: Setting) -> None:
    database.execute(_WRITE_SETTING, (written.name, to_json(written.value), written.at, written.who))


def add_host_fault(database: Database, fault: HostFault) -> None:
    database.execute(_ADD_HOST_FAULT, asdict(fault))


def host_faults(database: Database, since: float) -> list[HostFault]:
    return [HostFault(**dict(row)) for row in database.execute(_HOST_FAULTS, (since,)).fetchall()]

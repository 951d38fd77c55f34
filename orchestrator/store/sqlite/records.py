"""Uploads, API keys, settings, and hosts that failed us."""

import json
from dataclasses import asdict
from typing import Any

from sqlite_utils import Database

from orchestrator.store import moves
from orchestrator.store.errors import Duplicate
from orchestrator.store.rows import ApiKey, HostFault, Upload
from orchestrator.store.sqlite import events
from orchestrator.store.sqlite.values import to_json

_ADD_UPLOAD = """
    INSERT INTO uploads VALUES (:id, :owner, :name, :key, :size_bytes, :sha256, :content_type, :created_at,
        :expires_at)
    ON CONFLICT DO NOTHING
"""
_ADD_KEY = """
    INSERT INTO api_keys VALUES (:id, :name, :role, :hash, :created_at, :revoked_at) ON CONFLICT DO NOTHING
"""
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


def add_upload(database: Database, upload: Upload) -> None:
    if database.execute(_ADD_UPLOAD, asdict(upload)).rowcount == 0:
        raise Duplicate("an upload with this id is there already")


def get_upload(database: Database, upload_id: str) -> Upload | None:
    row = database.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    return Upload(**dict(row)) if row is not None else None


def add_key(database: Database, key: ApiKey) -> None:
    if database.execute(_ADD_KEY, asdict(key)).rowcount == 0:
        raise Duplicate("a key with this id or this secret is there already")


def find_key(database: Database, key_hash: str) -> ApiKey | None:
    """Also a revoked one, so that the refusal can say so."""
    row = database.execute("SELECT * FROM api_keys WHERE hash = ?", (key_hash,)).fetchone()
    return ApiKey(**dict(row)) if row is not None else None


def list_keys(database: Database) -> list[ApiKey]:
    query = "SELECT * FROM api_keys ORDER BY created_at, id"
    return [ApiKey(**dict(row)) for row in database.execute(query).fetchall()]


def read_setting(database: Database, name: str) -> Any | None:
    row = database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return json.loads(row["value"]) if row is not None else None


def write_setting(database: Database, name: str, value: Any, who: str, now: float) -> None:
    database.execute(_WRITE_SETTING, (name, to_json(value), now, who))
    events.record(database, moves.setting_written(name, who, now))


def add_host_fault(database: Database, fault: HostFault) -> None:
    database.execute(_ADD_HOST_FAULT, asdict(fault))


def host_faults(database: Database, since: float) -> list[HostFault]:
    return [HostFault(**dict(row)) for row in database.execute(_HOST_FAULTS, (since,)).fetchall()]

"""API keys: found by the beginning of their secrets, and compared by whoever asks."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlite_utils import Database

from orchestrator.store import changes
from orchestrator.store.changes import Change, shown
from orchestrator.store.people import ApiKey, By
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.accounts.writing import write
from orchestrator.store.sqlite.values import to_json

TAKEN = "a key with this id or this secret is there already"
_ADD = """
    INSERT INTO keys VALUES (:id, :owner, :name, :role, :prefix, :hash, :created_at, :scopes, :expires_at,
        :last_used_at, :revoked_at)
"""
_CHANGE = """
    UPDATE keys SET owner = :owner, name = :name, role = :role, prefix = :prefix, hash = :hash, scopes = :scopes,
        expires_at = :expires_at, last_used_at = :last_used_at, revoked_at = :revoked_at
    WHERE id = :id
"""
_WITH_PREFIX = "SELECT * FROM keys WHERE prefix = ? ORDER BY created_at, id"
_OF_OWNER = "SELECT * FROM keys WHERE owner = ? ORDER BY created_at, id"
_ALL = "SELECT * FROM keys ORDER BY created_at, id"
_TOUCH = "UPDATE keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)"


def add(database: Database, key: ApiKey, by: By | None) -> None:
    write(database, _ADD, _columns(key), TAKEN)
    audit.record(database, by, Change("key.add", key.id, key.created_at, after=shown(key)))


def with_prefix(database: Database, prefix: str) -> list[ApiKey]:
    return [_key(row) for row in database.execute(_WITH_PREFIX, (prefix,)).fetchall()]


def listed(database: Database, owner: str | None) -> list[ApiKey]:
    found = database.execute(_ALL) if owner is None else database.execute(_OF_OWNER, (owner,))
    return [_key(row) for row in found.fetchall()]


def change(
    database: Database, key_id: str, wanted: Mapping[str, Any], by: By | None, now: float
) -> ApiKey | None:
    row = database.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone()
    if row is None:
        return None
    before = _key(row)
    after = changes.changed(before, wanted)
    if after != before:
        write(database, _CHANGE, _columns(after), TAKEN)
        audit.record(database, by, changes.key_changed(before, after, now))
    return after


def touch(database: Database, used: Mapping[str, float]) -> None:
    database.conn.executemany(_TOUCH, list(used.items()))


def _columns(key: ApiKey) -> dict[str, Any]:
    return asdict(key) | {"scopes": to_json(key.scopes)}


def _key(row: sqlite3.Row) -> ApiKey:
    return ApiKey(**{**dict(row), "scopes": tuple(json.loads(row["scopes"]))})

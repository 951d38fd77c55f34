"""Who did what: one row for a change, in the transaction of the change."""

import json
import sqlite3
from typing import Any

from sqlite_utils import Database

from orchestrator.store.changes import Change
from orchestrator.store.people import Audit, AuditFilter, By
from orchestrator.store.sqlite.values import integer, to_json

_INSERT = """
    INSERT INTO audit (at, who, key_id, origin, what, target, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_LISTED = "SELECT * FROM audit WHERE {} ORDER BY id LIMIT :limit"
_FILTERS = {
    "who": "who = :who",
    "what": "what = :what",
    "target": "target = :target",
    "since": "at >= :since",
    "until": "at < :until",
}
_FORGET = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)"


def record(database: Database, by: By | None, change: Change) -> None:
    """Nothing where nobody asked for it."""
    if by is None:
        return
    objects = [None if one is None else to_json(one) for one in (change.before, change.after)]
    said = (change.at, by.who, by.key_id, by.origin, change.what, change.target)
    database.execute(_INSERT, (*said, *objects))


def listed(database: Database, which: AuditFilter, after: int, limit: int) -> list[Audit]:
    asked = {name: getattr(which, name) for name in _FILTERS}
    conditions = [text for name, text in _FILTERS.items() if asked[name] is not None]
    where = " AND ".join([*conditions, "id > :after"])
    asked |= {"after": integer(after), "limit": limit}
    return [_audit(row) for row in database.execute(_LISTED.format(where), asked).fetchall()]


def forget(database: Database, before: float, limit: int) -> None:
    database.execute(_FORGET, (before, limit))


def _audit(row: sqlite3.Row) -> Audit:
    return Audit(**{**dict(row), "before": _object(row["before"]), "after": _object(row["after"])})


def _object(text: str | None) -> dict[str, Any] | None:
    known: dict[str, Any] | None = json.loads(text) if text is not None else None
    return known

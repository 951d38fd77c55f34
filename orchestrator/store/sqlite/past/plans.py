"""Plans that did something: kept, listed, and forgotten by age and by number."""

import json
import sqlite3
from typing import Any

from sqlite_utils import Database

from orchestrator.store.past import PLANS_MAX, PlanRow
from orchestrator.store.sqlite.values import integer, to_json

_ADD = "INSERT INTO plans (at, record) VALUES (?, ?) RETURNING id"
_TRIM = "DELETE FROM plans WHERE id <= ?"
_BY_ID = "SELECT * FROM plans WHERE id = ?"
_LISTED = """
    SELECT * FROM plans WHERE (:before IS NULL OR id < :before) AND (:until IS NULL OR at <= :until)
    ORDER BY id DESC LIMIT :limit
"""
_OLD = "DELETE FROM plans WHERE at < ?"


def record(database: Database, plan: dict[str, Any], at: float) -> int:
    plan_id: int = database.execute(_ADD, (at, to_json(plan))).fetchone()[0]
    database.execute(_TRIM, (plan_id - PLANS_MAX,))
    return plan_id


def get(database: Database, plan_id: int) -> PlanRow | None:
    row: sqlite3.Row | None = database.execute(_BY_ID, (integer(plan_id),)).fetchone()
    return _plan_from(row) if row is not None else None


def listed(database: Database, before: int | None, until: float | None, limit: int) -> list[PlanRow]:
    asked = {"before": before if before is None else integer(before), "until": until, "limit": limit}
    return [_plan_from(row) for row in database.execute(_LISTED, asked).fetchall()]


def forget(database: Database, before: float) -> None:
    database.execute(_OLD, (before,))


def _plan_from(row: sqlite3.Row) -> PlanRow:
    return PlanRow(row["id"], row["at"], json.loads(row["record"]))

"""Users, and the subscriptions that say what they may have."""

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlite_utils import Database

from orchestrator.store import changes
from orchestrator.store.changes import Change, shown
from orchestrator.store.people import By, Quota, Subscription, User
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.accounts.writing import write

TAKEN = "a user with this id or this email is there already"
_ADD = """
    INSERT INTO users VALUES (:id, :name, :role, :created_at, :email, :subscription_id, :active, :password_hash,
        :session_version, :webhook_version, :webhook_rotated_at)
"""
_CHANGE = """
    UPDATE users SET name = :name, role = :role, email = :email, subscription_id = :subscription_id,
        active = :active, password_hash = :password_hash, session_version = :session_version,
        webhook_version = :webhook_version, webhook_rotated_at = :webhook_rotated_at
    WHERE id = :id
"""
_LISTED = "SELECT * FROM users WHERE id > ? ORDER BY id LIMIT ?"
_PUT_SUBSCRIPTION = """
    INSERT INTO subscriptions (id, name, queued_max, running_max, usd_per_day_max, requests_per_s)
    VALUES (:id, :name, :queued_max, :running_max, :usd_per_day_max, :requests_per_s)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, queued_max = excluded.queued_max,
        running_max = excluded.running_max, usd_per_day_max = excluded.usd_per_day_max,
        requests_per_s = excluded.requests_per_s
"""


def add(database: Database, user: User, by: By | None) -> None:
    user = changes.lowered(user)
    write(database, _ADD, asdict(user), TAKEN)
    audit.record(database, by, Change("user.add", user.id, user.created_at, after=shown(user)))


def get(database: Database, user_id: str) -> User | None:
    return _user(database.execute("SELECT * FROM users WHERE id = ?", (user_id,)).fetchone())


def find(database: Database, email: str) -> User | None:
    return _user(database.execute("SELECT * FROM users WHERE email = ?", (email.lower(),)).fetchone())


def listed(database: Database, after: str | None, limit: int) -> list[User]:
    """Every id is above the anonymous one's."""
    found = database.execute(_LISTED, (after or "", limit)).fetchall()
    return [user for user in map(_user, found) if user is not None]


def change(
    database: Database, user_id: str, wanted: Mapping[str, Any], by: By | None, now: float
) -> User | None:
    before = get(database, user_id)
    if before is None:
        return None
    after = changes.lowered(changes.changed(before, wanted))
    if after != before:
        write(database, _CHANGE, asdict(after), TAKEN)
        audit.record(database, by, Change("user.change", user_id, now, shown(before), shown(after)))
    return after


def put_subscription(database: Database, wanted: Subscription, by: By | None, now: float) -> Subscription:
    known = {one.id: one for one in subscriptions(database)}
    after = wanted if wanted.id else replace(wanted, id=max(known) + 1)
    before = known.get(after.id)
    if after != before:
        write(database, _PUT_SUBSCRIPTION, flat(after), "a subscription of this name is there already")
        row = Change("subscription.put", str(after.id), now, shown(before), shown(after))
        audit.record(database, by, row)
    return after


def subscriptions(database: Database) -> list[Subscription]:
    found = database.execute("SELECT * FROM subscriptions ORDER BY id").fetchall()
    return [Subscription(row["id"], row["name"], quota_of(row), row["requests_per_s"]) for row in found]


def quota_of(row: sqlite3.Row) -> Quota:
    return Quota(row["queued_max"], row["running_max"], row["usd_per_day_max"])


def flat(row: Any) -> dict[str, Any]:
    """The bounds of a quota are columns of the row that has it."""
    named = asdict(row)
    quota: dict[str, Any] = named.pop("quota")
    return named | quota


def _user(row: sqlite3.Row | None) -> User | None:
    return User(**{**dict(row), "active": bool(row["active"])}) if row is not None else None

"""Projects and their members."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database

from orchestrator.store import changes
from orchestrator.store.changes import Change, shown
from orchestrator.store.people import By, Member, Project
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.accounts.users import flat, quota_of
from orchestrator.store.sqlite.accounts.writing import write
from orchestrator.store.sqlite.values import to_json

TAKEN = "a project with this id is there already"
_ADD = """
    INSERT INTO projects (id, name, owner, created_at, queued_max, running_max, usd_per_day_max, data)
    VALUES (:id, :name, :owner, :created_at, :queued_max, :running_max, :usd_per_day_max, :data)
"""
_CHANGE = """
    UPDATE projects SET name = :name, owner = :owner, queued_max = :queued_max, running_max = :running_max,
        usd_per_day_max = :usd_per_day_max, data = :data
    WHERE id = :id
"""
_ALL = "SELECT * FROM projects WHERE id > :after ORDER BY id LIMIT :limit"
_OF_MEMBER = """
    SELECT p.* FROM members m JOIN projects p ON p.id = m.project_id
    WHERE m.user_id = :member AND m.project_id > :after ORDER BY m.project_id LIMIT :limit
"""
_PUT_MEMBER = """
    INSERT INTO members VALUES (?, ?, ?)
    ON CONFLICT (project_id, user_id) DO UPDATE SET right = excluded.right
"""
_BOTH_ARE = "SELECT 1 FROM projects p, users u WHERE p.id = ? AND u.id = ?"
_MEMBER = "SELECT * FROM members WHERE project_id = ? AND user_id = ?"
_REMOVE_MEMBER = "DELETE FROM members WHERE project_id = ? AND user_id = ?"
_MEMBERS = "SELECT * FROM members WHERE project_id = ? ORDER BY user_id"
_MEMBERSHIPS = "SELECT * FROM members WHERE user_id = ? ORDER BY project_id"


def add(database: Database, project: Project, by: By | None) -> None:
    write(database, _ADD, _columns(project), TAKEN)
    database.execute(_PUT_MEMBER, (project.id, project.owner, "write"))
    audit.record(database, by, Change("project.add", project.id, project.created_at, after=shown(project)))


def get(database: Database, project_id: str) -> Project | None:
    row = database.execute("SELECT * FROM projects WHERE id = ?", (project_id,)).fetchone()
    return _project(row) if row is not None else None


def listed(database: Database, member: str | None, after: str | None, limit: int) -> list[Project]:
    query = _ALL if member is None else _OF_MEMBER
    asked = {"member": member, "after": after or "", "limit": limit}
    return [_project(row) for row in database.execute(query, asked).fetchall()]


def change(
    database: Database, project_id: str, wanted: Mapping[str, Any], by: By | None, now: float
) -> Project | None:
    before = get(database, project_id)
    if before is None:
        return None
    after = changes.changed(before, wanted)
    if after != before:
        write(database, _CHANGE, _columns(after), TAKEN)
        audit.record(database, by, Change("project.change", project_id, now, shown(before), shown(after)))
    return after


def members(database: Database, project_id: str) -> list[Member]:
    return [Member(**dict(row)) for row in database.execute(_MEMBERS, (project_id,)).fetchall()]


def memberships(database: Database, user_id: str) -> list[Member]:
    return [Member(**dict(row)) for row in database.execute(_MEMBERSHIPS, (user_id,)).fetchall()]


def put_member(database: Database, member: Member, by: By | None, now: float, *, remove: bool) -> bool:
    both = (member.project_id, member.user_id)
    row = database.execute(_MEMBER, both).fetchone()
    before = Member(**dict(row)) if row is not None else None
    if remove and before is None:
        return False
    if not remove and database.execute(_BOTH_ARE, both).fetchone() is None:
        return False
    if remove:
        database.execute(_REMOVE_MEMBER, both)
    elif before != member:
        database.execute(_PUT_MEMBER, (*both, member.right))
    else:
        return True
    audit.record(database, by, changes.member_put(before, member, now, remove=remove))
    return True


def _columns(project: Project) -> dict[str, Any]:
    return flat(project) | {"data": to_json(project.data)}


def _project(row: sqlite3.Row) -> Project:
    data = json.loads(row["data"])
    return Project(row["id"], row["name"], row["owner"], row["created_at"], quota_of(row), data)

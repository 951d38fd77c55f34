"""The library of models: assets, and the files that are their versions."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlite_utils import Database

from orchestrator.store import changes
from orchestrator.store.people import Asset, AssetVersion, By
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.accounts.writing import write
from orchestrator.store.sqlite.values import to_json

_ADD = "INSERT INTO assets VALUES (:id, :name, :kind, :owner, :project_id, :created_at)"
_ADD_VERSION = """
    INSERT INTO asset_versions VALUES (:asset_id, :number, :key, :size_bytes, :sha256, :created_at, :created_by,
        :metadata)
"""
_LAST = "SELECT coalesce(max(number), 0) FROM asset_versions WHERE asset_id = ?"
_IN_PROJECT = "SELECT * FROM assets WHERE name = :name AND project_id = :project_id"
_OWN = "SELECT * FROM assets WHERE name = :name AND owner = :owner AND project_id IS NULL"
_ALL = "SELECT * FROM assets WHERE id > :after ORDER BY id LIMIT :limit"
_SEEN = """
    SELECT * FROM (
        SELECT * FROM assets WHERE owner = :owner AND project_id IS NULL
        UNION ALL
        SELECT * FROM assets WHERE project_id IN (SELECT value FROM json_each(:projects)))
    WHERE id > :after ORDER BY id LIMIT :limit
"""
_VERSIONS = "SELECT * FROM asset_versions WHERE asset_id = ? ORDER BY number DESC"


def add_version(
    database: Database, asset: Asset, version: AssetVersion, by: By | None
) -> tuple[Asset, AssetVersion]:
    known = find(database, asset.name, asset.project_id, asset.owner)
    if known is None:
        write(database, _ADD, asdict(asset), "an asset with this id is there already")
        known = asset
    last: int = database.execute(_LAST, (known.id,)).fetchone()[0]
    made = replace(version, asset_id=known.id, number=last + 1)
    database.execute(_ADD_VERSION, asdict(made) | {"metadata": to_json(made.metadata)})
    audit.record(database, by, changes.asset_added(known, made))
    return known, made


def get(database: Database, asset_id: str) -> Asset | None:
    return _asset(database.execute("SELECT * FROM assets WHERE id = ?", (asset_id,)).fetchone())


def find(database: Database, name: str, project_id: str | None, owner: str) -> Asset | None:
    asked = {"name": name, "project_id": project_id, "owner": owner}
    return _asset(database.execute(_OWN if project_id is None else _IN_PROJECT, asked).fetchone())


def listed(
    database: Database, owner: str | None, projects: Sequence[str], after: str | None, limit: int
) -> list[Asset]:
    asked = {"owner": owner, "projects": to_json(projects), "after": after or "", "limit": limit}
    found = database.execute(_ALL if owner is None else _SEEN, asked).fetchall()
    return [Asset(**dict(row)) for row in found]


def versions(database: Database, asset_id: str) -> list[AssetVersion]:
    found = database.execute(_VERSIONS, (asset_id,)).fetchall()
    return [AssetVersion(**{**dict(row), "metadata": json.loads(row["metadata"])}) for row in found]


def remove(database: Database, asset_id: str, by: By | None, now: float) -> list[str]:
    asset = get(database, asset_id)
    if asset is None:
        return []
    keys = [one.key for one in versions(database, asset_id)]
    database.execute("DELETE FROM assets WHERE id = ?", (asset_id,))
    audit.record(database, by, changes.asset_removed(asset, len(keys), now))
    return keys


def _asset(row: sqlite3.Row | None) -> Asset | None:
    return Asset(**dict(row)) if row is not None else None

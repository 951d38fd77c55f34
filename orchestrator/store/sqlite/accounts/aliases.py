"""The integers by which other systems' clients know what has a longer id here. None is ever used twice."""

from collections.abc import Iterable, Sequence

from sqlite_utils import Database

from orchestrator.store.sqlite.values import integer, to_json

_OF_TARGET = "SELECT number FROM aliases WHERE surface = ? AND kind = ? AND target = ?"
_OF_TARGETS = """
    SELECT a.target, a.number FROM json_each(?) t
    JOIN aliases a ON a.surface = ? AND a.kind = ? AND a.target = t.value
"""
_COUNT = """
    INSERT INTO alias_counters VALUES (?, ?, 1)
    ON CONFLICT (surface, kind) DO UPDATE SET last = last + 1
    RETURNING last
"""
_GIVE = "INSERT INTO aliases (surface, kind, number, owner, target) VALUES (?, ?, ?, ?, ?)"
_RESOLVE = "SELECT target FROM aliases WHERE surface = ? AND kind = ? AND number = ?"


def known(database: Database, surface: str, kind: str, target: str) -> int | None:
    row = database.execute(_OF_TARGET, (surface, kind, target)).fetchone()
    return row["number"] if row is not None else None


def give(database: Database, surface: str, kind: str, target: str, owner: str) -> int:
    earlier = known(database, surface, kind, target)
    if earlier is not None:
        return earlier
    number: int = database.execute(_COUNT, (surface, kind)).fetchone()[0]
    database.execute(_GIVE, (surface, kind, number, owner, target))
    return number


def of_targets(database: Database, surface: str, kind: str, targets: Sequence[str]) -> dict[str, int]:
    return dict(database.execute(_OF_TARGETS, (to_json(targets), surface, kind)).fetchall())


def resolve(database: Database, surface: str, kind: str, number: int) -> str | None:
    row = database.execute(_RESOLVE, (surface, kind, integer(number))).fetchone()
    return row["target"] if row is not None else None


def forget(database: Database, targets: Iterable[str]) -> None:
    database.conn.executemany("DELETE FROM aliases WHERE target = ?", [(one,) for one in targets])

"""The numbered migrations. One that was released is never edited: what changes later is another one."""

import json
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files

from sqlite_utils import Database, Migrations

from orchestrator.store.errors import SchemaTooNew
from scaling.states import ATTEMPT_MOVES, JOB_MOVES, WORKER_MOVES, AttemptState, JobState, State, WorkerState

_TIMED = """
    SELECT DISTINCT g.id, g.need, j.max_time_s FROM jobs j JOIN job_groups g ON g.id = j.group_id
    WHERE j.state IN ('queued', 'running') AND j.max_time_s <> 1200
"""
_REGROUP = """
    UPDATE jobs SET group_id = (SELECT id FROM job_groups WHERE need = ?)
    WHERE group_id = ? AND max_time_s = ? AND state IN ('queued', 'running')
"""
migrations = Migrations("orchestrator")


def migrate(database: Database) -> None:
    """Applies what is missing. Two programs that start at once do it one after the other.

    Raises:
        SchemaTooNew: the database has a migration that this program does not know.
    """
    known = {one.name for one in migrations._migrations}  # noqa: SLF001  The library has no name for it.
    applied = {one.name for one in migrations.applied(database)}
    if unknown := applied - known:
        raise SchemaTooNew(f"a newer gpulease wrote this database: {', '.join(sorted(unknown))}")
    if not migrations.pending(database):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(database)
        database.commit()
    finally:
        database.rollback()


@migrations(name="0001_schema")
def schema(database: Database) -> None:
    text = files(__package__).joinpath("0001_schema.sql").read_text(encoding="utf-8")
    states = {"job": JobState, "attempt": AttemptState, "worker": WorkerState}
    for name, enum in states.items():
        text = text.replace(f"{{{name}_states}}", _literals(enum))
    database.executescript(text)
    database.execute(_only_moves("jobs", JOB_MOVES))
    database.execute(_only_moves("attempts", ATTEMPT_MOVES))
    database.execute(_only_moves("workers", WORKER_MOVES))


@migrations(name="0002_clouds")
def clouds(database: Database) -> None:
    """Also: since this version a need names how long its job may run, unless that is 1,200 s."""
    database.executescript(files(__package__).joinpath("0002_clouds.sql").read_text(encoding="utf-8"))
    for group, need, max_time_s in database.execute(_TIMED).fetchall():
        named = {**json.loads(need), "max_time_s": max_time_s}
        text = json.dumps(named, separators=(",", ":"), sort_keys=True)
        database.execute("INSERT INTO job_groups (need) VALUES (?) ON CONFLICT DO NOTHING", (text,))
        database.execute(_REGROUP, (text, group, max_time_s))


@migrations(name="0003_people")
def people(database: Database) -> None:
    database.executescript(files(__package__).joinpath("0003_people.sql").read_text(encoding="utf-8"))


@migrations(name="0004_brain")
def brain(database: Database) -> None:
    database.executescript(files(__package__).joinpath("0004_brain.sql").read_text(encoding="utf-8"))


@migrations(name="0005_plans")
def plans(database: Database) -> None:
    database.executescript(files(__package__).joinpath("0005_plans.sql").read_text(encoding="utf-8"))


def _literals(enum: type[StrEnum]) -> str:
    return ", ".join(f"'{one}'" for one in enum)


def _only_moves(table: str, moves: Mapping[State, frozenset[State]]) -> str:
    """A trigger that refuses every move that the table of the lifecycle does not have."""
    allowed = " OR ".join(
        f"(OLD.state = '{before}' AND NEW.state = '{after}')"
        for before, afters in moves.items()
        for after in sorted(afters)
    )
    return f"""
        CREATE TRIGGER {table}_moves BEFORE UPDATE OF state ON {table}
        WHEN OLD.state <> NEW.state AND NOT ({allowed})
        BEGIN SELECT RAISE(ABORT, 'illegal move of {table}'); END
    """

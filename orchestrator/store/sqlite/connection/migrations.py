"""The numbered migrations. One that was released is never edited: what changes later is another one."""

from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files

from sqlite_utils import Database, Migrations

from orchestrator.store.errors import SchemaTooNew
from scaling.states import ATTEMPT_MOVES, JOB_MOVES, WORKER_MOVES, AttemptState, JobState, State, WorkerState

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
    database.executescript(files(__package__).joinpath("0002_clouds.sql").read_text(encoding="utf-8"))


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

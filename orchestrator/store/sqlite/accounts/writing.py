"""Rows that name others: what is taken, and what is missing, becomes an error of ours."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database

from orchestrator.store.errors import Duplicate, Missing


def write(database: Database, statement: str, values: Mapping[str, Any], taken: str) -> None:
    """Runs an INSERT or UPDATE.

    Raises:
        Duplicate: with the words of `taken`.
        Missing: it names a row that is not there.
    """
    try:
        database.execute(statement, dict(values))
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
            raise Duplicate(taken) from error
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise Missing("it names something that is not there") from error
        raise

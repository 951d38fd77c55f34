"""Opens connections as every one of them must be: WAL, foreign keys on, and patient."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from orchestrator.store.errors import StoreBusy, StoreError, StoreFull

BUSY_S_DEFAULT = 60.0
"""How long a verb waits for a lock that another process holds."""
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_PAGE_CACHE_KIB = 64 * 1024
_WAL_BYTES_MAX = 64 * 1024 * 1024


def open_database(path: Path, busy_s: float, migrate: Callable[[Database], None]) -> Database:
    """The connection that writes, to a database that is made and migrated if need be.

    Raises:
        StoreBusy: another process held it for longer than `busy_s`.
    """
    _create_file(path)
    database = _open(path, busy_s)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # A reply that says "accepted" must outlive a power cut; group commit pays for the sync.
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
        migrate(database)
    except sqlite3.Error as error:
        database.close()
        raise translated(error) from error
    except BaseException:
        database.close()
        raise
    return database


def open_reader(path: Path, busy_s: float) -> Database:
    database = _open(path, busy_s)
    database.execute("PRAGMA query_only = ON")
    return database


def translated(error: sqlite3.Error) -> Exception:
    """SQLite's error as ours, where the caller can do something about it."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return error
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _caused(StoreBusy("the database was locked by another process for too long"), error)
    if primary == sqlite3.SQLITE_FULL:
        return _caused(StoreFull("the disk is full; nothing was written"), error)
    return error


def _create_file(path: Path) -> None:
    """Only its owner may read it; SQLite gives the files beside it the same mode."""
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    path.touch(mode=_FILE_MODE, exist_ok=True)


def _caused(ours: StoreError, theirs: sqlite3.Error) -> StoreError:
    ours.__cause__ = theirs
    return ours


def _open(path: Path, busy_s: float) -> Database:
    connection = sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.row_factory = sqlite3.Row
    database = Database(connection, execute_plugins=False)
    database.execute("PRAGMA foreign_keys = ON")
    database.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
    database.execute("PRAGMA temp_store = MEMORY")
    return database

"""Connections that only read, on threads of their own: a page never waits for a writer, nor makes one wait."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from orchestrator.store.errors import StoreClosed
from orchestrator.store.sqlite.connection.opening import open_reader, translated

THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """Each read sees one committed state of the whole database."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self._path = path
        self._busy_s = busy_s
        self._own = threading.local()
        self._opened: list[Database] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store-reader")
        self._closed = False

    async def do(self, read: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `read(database, …)` in a read transaction.

        Raises:
            StoreClosed: the store was closed before.
        """
        if self._closed:
            raise StoreClosed
        call = partial(self._read, lambda database: read(database, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def point(self, read: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a read of a few rows by key where it is called: it takes less time than going to a thread would.

        Raises:
            StoreClosed: the store was closed before.
        """
        if self._closed:
            raise StoreClosed
        return self._read(lambda database: read(database, *args, **kwargs))

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
        while self._opened:
            self._opened.pop().close()

    def _read(self, read: Callable[[Database], T]) -> T:
        database = self._database()
        try:
            database.execute("BEGIN")
            return read(database)
        except sqlite3.Error as error:
            raise translated(error) from error
        finally:
            database.rollback()

    def _database(self) -> Database:
        database: Database | None = getattr(self._own, "database", None)
        if database is None:
            database = self._own.database = open_reader(self._path, self._busy_s)
            self._opened.append(database)
        return database

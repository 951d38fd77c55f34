"""The one thread that writes. Verbs that wait at the same time share a transaction (group commit)."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from orchestrator.store.errors import StoreClosed
from orchestrator.store.sqlite.connection.opening import translated

GROUP_MAX = 256
"""No transaction has more verbs than this, so that the first of them need not wait for all."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Work:
    verb: Callable[[Database], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    durable: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    work: _Work
    value: Any = None
    error: Exception | None = None


class Writer:
    """Runs verbs in order. Each is all or nothing; none resolves before its commit.

    A durable verb's commit is on the disk by then, and with it all that came before. Any other survives the death
    of this process, and may be lost with the power: a claim, say, whose job is queued again then.

    Cancelling whoever waits for a verb leaves it undecided whether the verb happens; never half of it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inbox: SimpleQueue[_Work | None] = SimpleQueue()
        self._closing = False
        self._synced = True
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def do(self, verb: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `verb(database, …)` in a transaction that survives this process.

        Raises:
            StoreBusy: another process held the database for longer than the busy timeout.
            StoreFull: the disk is full.
            StoreClosed: the store was closed before.
        """
        return await self._put(lambda database: verb(database, *args, **kwargs), durable=False)

    async def do_durably(
        self, verb: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same in a transaction that survives a power cut: for what was promised, and for what costs money."""
        return await self._put(lambda database: verb(database, *args, **kwargs), durable=True)

    def _put(self, verb: Callable[[Database], T], *, durable: bool) -> asyncio.Future[T]:
        if self._closing:
            raise StoreClosed
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._inbox.put(_Work(verb, loop, future, durable))
        return future

    async def aclose(self) -> None:
        """Does what is waiting already, then closes the connection. May be called twice."""
        if not self._closing:
            self._closing = True
            self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_still = True
        while open_still:
            group, open_still = self._next_group()
            if group:
                _deliver(self._commit(group))
        self._database.close()

    def _next_group(self) -> tuple[list[_Work], bool]:
        """Waits for one verb and takes what else is there; False once the store is closing."""
        first = self._inbox.get()
        if first is None:
            return [], False
        group = [first]
        while len(group) < GROUP_MAX:
            try:
                work = self._inbox.get_nowait()
            except Empty:
                break
            if work is None:
                return group, False
            group.append(work)
        return group, True

    def _commit(self, group: Sequence[_Work]) -> list[_Outcome]:
        wanted = [work for work in group if not work.future.cancelled()]
        try:
            self._sync(durable=any(work.durable for work in wanted))
            self._database.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(work) for work in wanted]
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            # The transaction is lost, and with it what every verb of the group did.
            self._database.rollback()
            return [_Outcome(work, error=translated(error)) for work in wanted]
        return outcomes

    def _sync(self, *, durable: bool) -> None:
        """Whether the next commit waits for the disk."""
        if durable is not self._synced:
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._synced = durable

    def _attempt(self, work: _Work) -> _Outcome:
        """Runs one verb in its savepoint, so that its failure undoes itself and nothing else."""
        self._database.execute("SAVEPOINT verb")
        try:
            value = work.verb(self._database)
        except Exception as error:
            if not self._database.conn.in_transaction:
                raise _lost(error) from error
            self._database.execute("ROLLBACK TO verb")
            self._database.execute("RELEASE verb")
            known = translated(error) if isinstance(error, sqlite3.Error) else error
            return _Outcome(work, error=known)
        self._database.execute("RELEASE verb")
        return _Outcome(work, value)


def _lost(error: Exception) -> sqlite3.Error:
    """Some errors, a full disk among them, make SQLite roll back the whole transaction by itself."""
    return error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error))


def _deliver(outcomes: Sequence[_Outcome]) -> None:
    """One wake-up for each loop, however many verbs it waits for."""
    for loop in {outcome.work.loop for outcome in outcomes}:
        mine = [outcome for outcome in outcomes if outcome.work.loop is loop]
        try:
            loop.call_soon_threadsafe(partial(_settle, mine))
        except RuntimeError:
            # The loop has ended, and nobody waits in it any more.
            continue


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.work.future
        if future.done():
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.value)

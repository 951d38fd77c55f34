"""The loops: each body runs on a period and on a nudge, never beside itself; its retry is its next turn."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

NUDGE_WINDOW_S = 0.05
"""Nudges this close together are one turn; what nudged may go on undisturbed in the meantime."""
log = structlog.get_logger()
Body = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Loop:
    name: str
    body: Body
    period_s: float
    turns: int = 0
    last_at: float | None = None
    last_s: float | None = None
    error: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    nudged: asyncio.Task[None] | None = None
    later: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        async with self.lock:
            began = time.monotonic()
            try:
                await self.body()
                self.error = None
            except Exception as error:
                self.error = repr(error)
                log.exception("loop_failed", loop=self.name)
            self.turns += 1
            self.last_at, self.last_s = time.time(), time.monotonic() - began


class Loops:
    """APScheduler keeps the periods: at the end of each it nudges, since it would cancel turns of its own at its
    shutdown.
    """

    def __init__(self) -> None:
        self._loops: dict[str, Loop] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler: AsyncIOScheduler | None = None

    def add(self, name: str, body: Body, period_s: float) -> None:
        """Adds a loop. Its first turn comes one period after the start, or with a nudge."""
        loop = self._loops[name] = Loop(name, body, period_s)
        if self._scheduler is not None:
            self._schedule(self._scheduler, loop)

    def _schedule(self, scheduler: AsyncIOScheduler, loop: Loop) -> None:
        scheduler.add_job(
            self._tick,
            "interval",
            args=[loop.name],
            seconds=loop.period_s,
            id=loop.name,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def _tick(self, name: str) -> None:
        self.nudge(name)

    def nudge(self, name: str) -> None:
        """Asks for a turn soon. During a turn, it asks for one more after it."""
        loop = self._loops.get(name)
        if self._scheduler is None or loop is None or (loop.nudged is not None and not loop.nudged.done()):
            return
        loop.nudged = asyncio.get_running_loop().create_task(self._soon(loop), name=f"nudge-{name}")
        self._tasks.add(loop.nudged)
        loop.nudged.add_done_callback(self._tasks.discard)

    def nudge_in(self, name: str, seconds: float | None) -> None:
        """Asks for a turn in so long, and not as was asked last; None: asks for none."""
        loop = self._loops.get(name)
        if loop is None or self._scheduler is None:
            return
        if loop.later is not None:
            loop.later.cancel()
        loop.later = None
        if seconds is not None:
            loop.later = asyncio.get_running_loop().create_task(
                self._later(name, seconds), name=f"later-{name}"
            )
            self._tasks.add(loop.later)
            loop.later.add_done_callback(self._tasks.discard)

    async def _later(self, name: str, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds - NUDGE_WINDOW_S))
        self.nudge(name)

    async def _soon(self, loop: Loop) -> None:
        await asyncio.sleep(NUDGE_WINDOW_S)
        async with loop.lock:
            pass
        loop.nudged = None
        await loop.turn()

    def start(self) -> None:
        if self._scheduler is None:
            self._scheduler = AsyncIOScheduler(timezone=UTC)
            for loop in self._loops.values():
                self._schedule(self._scheduler, loop)
            self._scheduler.start()

    async def stop(self) -> None:
        """Waits for the turns that run, and starts no more."""
        if self._scheduler is None:
            return
        self._scheduler.shutdown(wait=False)
        self._scheduler = None
        for loop in self._loops.values():
            for task in (loop.nudged, loop.later):
                if task is not None:
                    task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def error(self, name: str) -> str | None:
        """What went wrong in its last turn, if anything did."""
        loop = self._loops.get(name)
        return loop.error if loop is not None else None

    def report(self) -> dict[str, Any]:
        """Each loop's turns, last run (UTC) and last error, for those who watch."""
        return {
            one.name: {
                "turns": one.turns,
                "last_at": None
                if one.last_at is None
                else datetime.fromtimestamp(one.last_at, UTC).isoformat(),
                "last_s": one.last_s,
                "error": one.error,
            }
            for one in self._loops.values()
        }

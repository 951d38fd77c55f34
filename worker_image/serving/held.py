"""The attempts that this worker holds: begun, run as tasks, ended together."""

import asyncio
import time
from collections.abc import Callable

import structlog

from gpulease.contract.agent import Assignment
from gpulease.contract.jobs import Fault
from worker_image.attempt import Attempt, Tools
from worker_image.slots import Slots

_log = structlog.get_logger()


class Held:
    """`on_change` is called after each attempt that came or went."""

    def __init__(self, slots: Slots, on_change: Callable[[], None]) -> None:
        self._slots = slots
        self._on_change = on_change
        self._attempts: dict[int, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.done = 0

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(self._attempts)

    async def begin(self, assignment: Assignment, tools: Tools) -> None:
        """Starts it as soon as a slot is free; one that is held already goes on as it is."""
        if assignment.attempt in self._attempts:
            return
        while not self._slots.take():
            await self._slots.until_free()
        attempt = Attempt(assignment, tools, self._slots.give)
        self._attempts[attempt.id] = attempt
        self._on_change()
        task = asyncio.create_task(self._hold(attempt, assignment))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take_back(self, attempt_id: int) -> None:
        if attempt_id in self._attempts:
            self._attempts[attempt_id].take_back()

    async def end(self, grace_s: float, fault: Fault) -> None:
        """Waits for the running attempts, then stops those that are left, and waits for their reports."""
        if self._tasks and grace_s:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for attempt in list(self._attempts.values()):
            attempt.stop(fault)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _hold(self, attempt: Attempt, assignment: Assignment) -> None:
        log = _log.bind(attempt=attempt.id, job=assignment.job_id, engine=assignment.engine)
        log.info("attempt_started")
        started, how = time.monotonic(), "broke"
        try:
            how = await attempt.run()
        except Exception:  # The top of a task: the next attempt must still have its turn.
            log.exception("attempt_broke")
        finally:
            self._attempts.pop(attempt.id, None)
            self.done += 1
            self._on_change()
            log.info("attempt_ended", how=how, took_s=round(time.monotonic() - started, 1))

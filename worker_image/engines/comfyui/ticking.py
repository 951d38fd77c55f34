"""Asynchronous work in an engine's process: its last report is repeated, so that taking it back is noticed at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gpulease.contract.jobs import Phase
from worker_image.engines.base import Report

TICK_S = 0.25

Result = TypeVar("Result")


class Repeating:
    """A report that can be made once more. A repeated one is no progress."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last: tuple[float, str | None] = (0.0, None)
        self._more: dict[str, Any] = {"phase": Phase.PREPARING}

    def __call__(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        self._last = (share, message)
        self._more = {"phase": phase, "step": step, "total_steps": total_steps}
        self.again()

    def again(self) -> None:
        self._report(*self._last, **self._more)


async def ticking(making: Coroutine[Any, Any, Result], report: Repeating) -> Result:
    """Awaits it. When the report raises, it is cancelled, and has ended before that goes on."""
    task = asyncio.create_task(making)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=TICK_S)
            report.again()
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

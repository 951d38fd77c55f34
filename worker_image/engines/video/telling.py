"""Progress while waiting: what was told last is told again twice a second, which is when a cancel is noticed."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from gpulease.contract import video_generator_pb2 as wire
from worker_image.engines.base import Report

TICK_S = 0.4
_LETTERS_MAX = 300

Reply = TypeVar("Reply")


class Telling:
    """`gpu_util` is the highest that the worker told of, 0 to 1."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last: tuple[float, str, dict[str, Any]] = (0.0, "asking the video worker", {})
        self.gpu_util = 0.0

    def __call__(self, share: float, message: str, **steps: int) -> None:
        self._last = (min(max(share, 0.0), 1.0), " ".join(message.split())[:_LETTERS_MAX], steps)
        self.again()

    def again(self) -> None:
        share, message, steps = self._last
        self._report(share, message or None, **steps)

    def progress(self, said: wire.Progress) -> None:
        self.gpu_util = max(self.gpu_util, said.gpu_util)
        if said.total_steps <= 0:
            self(0.0, said.message)
            return
        step = min(max(said.step, 0), said.total_steps)
        self(step / said.total_steps, said.message, step=step, total_steps=said.total_steps)

    async def during(self, call: Awaitable[Reply]) -> Reply:
        """Awaits it, and tells again meanwhile; what telling raises ends the call."""
        waiting = asyncio.ensure_future(call)
        try:
            while not (await asyncio.wait({waiting}, timeout=TICK_S))[0]:
                self.again()
            return waiting.result()
        finally:
            waiting.cancel()

    async def sleep(self, seconds: float) -> None:
        await self.during(asyncio.sleep(seconds))

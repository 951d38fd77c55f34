"""Wakes those who follow a job. It carries no data: whoever wakes reads the store."""

import asyncio
from collections import defaultdict


class Feed:
    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def publish(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    async def wait(self, job_id: str, timeout_s: float) -> None:
        """Returns at the next change of the job, at the timeout, or when the server closes."""
        if self._closed:
            return
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def close(self) -> None:
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

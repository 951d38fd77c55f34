"""The worker's slots: an attempt, or a local job, holds one until its outputs are on their way."""

import asyncio


class Slots:
    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._changed = asyncio.Event()

    @property
    def free(self) -> int:
        return max(0, self._free)

    def take(self) -> bool:
        """Takes one, or says that there is none."""
        if not self.free:
            return False
        self._free -= 1
        self._note()
        return True

    def keep(self) -> None:
        """One more stays taken, whoever gives one back now: what it was for is not over on the machine."""
        self._free -= 1
        self._note()

    def give(self) -> None:
        self._free += 1
        self._note()

    async def until_free(self) -> None:
        while not self.free:
            await self._changed.wait()

    async def until_full(self) -> None:
        while self.free:
            await self._changed.wait()

    def _note(self) -> None:
        """Wakes whoever waits now; later waiters wait for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

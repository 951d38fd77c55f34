"""Whether the agent may ask for work: it may while nobody holds the gate closed."""

import asyncio
from collections.abc import Callable

OWNER = "owner"
ORCHESTRATOR = "orchestrator"
UNREGISTERED = "unregistered"
LEAVING = "leaving"
UNFIT = "unfit"


class Gate:
    """`on_change` is called after each change of who holds it."""

    def __init__(self) -> None:
        self._held_by: set[str] = set()
        self._open = asyncio.Event()
        self._closed = asyncio.Event()
        self._open.set()
        self.on_change: Callable[[], None] = lambda: None

    def held_by(self, who: str) -> bool:
        return who in self._held_by

    def hold(self, who: str, held: bool = True) -> None:  # noqa: FBT001, FBT002  Reads as a sentence.
        if held == self.held_by(who):
            return
        (self._held_by.add if held else self._held_by.discard)(who)
        closed = bool(self._held_by)
        (self._closed.set if closed else self._closed.clear)()
        (self._open.clear if closed else self._open.set)()
        self.on_change()

    def flip(self, who: str) -> None:
        self.hold(who, not self.held_by(who))

    @property
    def is_open(self) -> bool:
        return not self._held_by

    async def until_open(self) -> None:
        await self._open.wait()

    async def until_closed(self) -> None:
        await self._closed.wait()

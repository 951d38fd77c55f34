"""The secrets that Salad may have signed a webhook with: while it is rotated, the old one and the new one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

KEPT = 2


@dataclass(slots=True)
class Secrets:
    """`read` asks the API for the secret in force."""

    read: Callable[[], Awaitable[str]]
    _known: list[str] = field(default_factory=list)

    async def known(self) -> tuple[str, ...]:
        return tuple(self._known) if self._known else await self.renewed()

    async def renewed(self) -> tuple[str, ...]:
        """After a signature that no known secret made: the newest first, then the one before it."""
        newest = await self.read()
        if newest not in self._known:
            self._known = [newest, *self._known][:KEPT]
        return tuple(self._known)

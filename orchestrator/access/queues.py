"""How many jobs of a queue may run at once: seeded from the settings, then what ops stored last."""

import asyncio
import re
from collections.abc import Mapping

from gpulease.contract.problems import FieldFault, invalid
from orchestrator.settings import Settings, SettingsError
from orchestrator.store.people import By
from orchestrator.store.protocol import Store

SETTING = "queues"
NAMES_MAX = 1_000
_SEED = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})=([0-9]{1,6})")


class QueueBounds:
    """What is stored wins over the settings, name by name; a stored null lifts what they say."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._seed = seeded(settings)
        self._putting = asyncio.Lock()
        self.current: Mapping[str, int] = self._seed

    async def load(self) -> None:
        both = {**self._seed, **await self._stored()}
        self.current = {name: most for name, most in both.items() if most is not None}

    async def put(self, name: str, running_max: int | None, by: By, now: float) -> None:
        """Sets a bound, or lifts it.

        Raises:
            ProblemError: 422 where there are too many names.
        """
        async with self._putting:
            stored = {**await self._stored(), name: running_max}
            if running_max is None and name not in self._seed:
                del stored[name]
            if len(stored) > NAMES_MAX:
                message = f"at most {NAMES_MAX} queues may have a bound of their own; lift one first"
                raise invalid([FieldFault(field="name", message=message)])
            await self._store.write_setting(SETTING, stored, who=by.who, now=now, by=by)

    async def _stored(self) -> dict[str, int | None]:
        return await self._store.read_setting(SETTING) or {}


def seeded(settings: Settings) -> dict[str, int]:
    """The bounds of `queue_limits`.

    Raises:
        SettingsError: with every fault, one a line.
    """
    found: dict[str, int] = {}
    faults = []
    for text in settings.queue_limits:
        named = _SEED.fullmatch(text)
        if named is None:
            faults.append(f"queue_limits: {text!r} is not NAME=NUMBER, such as short-low=8")
        elif named[1] in found:
            faults.append(f"queue_limits: {named[1]!r} is named twice")
        else:
            found[named[1]] = int(named[2])
    if faults:
        raise SettingsError("\n".join(faults))
    return found

"""Which providers ops have switched off. It survives a restart."""

from dataclasses import dataclass

from orchestrator.clock import Clock
from orchestrator.fleet.clouds.market import Market
from orchestrator.store.people import By
from orchestrator.store.protocol import Store

SETTING = "providers_disabled"


@dataclass(frozen=True, slots=True)
class Switches:
    store: Store
    market: Market
    clock: Clock

    async def load(self) -> None:
        self.market.disabled = frozenset(await self.store.read_setting(SETTING) or ())

    async def turn(self, provider: str, *, on: bool, by: By) -> None:
        disabled = set(await self.store.read_setting(SETTING) or ())
        disabled = disabled - {provider} if on else disabled | {provider}
        now = self.clock.now()
        await self.store.write_setting(SETTING, sorted(disabled), who=by.who, now=now, by=by)
        self.market.disabled = frozenset(disabled)

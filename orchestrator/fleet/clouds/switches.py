"""Which providers ops have switched off. It survives a restart."""

from dataclasses import dataclass

from orchestrator.clock import Clock
from orchestrator.fleet.clouds.market import Market
from orchestrator.store.protocol import Store

SETTING = "providers_disabled"


@dataclass(frozen=True, slots=True)
class Switches:
    store: Store
    market: Market
    clock: Clock

    async def load(self) -> None:
        self.market.disabled = frozenset(await self.store.read_setting(SETTING) or ())

    async def turn(self, provider: str, *, on: bool, who: str) -> None:
        disabled = set(await self.store.read_setting(SETTING) or ())
        disabled = disabled - {provider} if on else disabled | {provider}
        await self.store.write_setting(SETTING, sorted(disabled), who=who, now=self.clock.now())
        self.market.disabled = frozenset(disabled)

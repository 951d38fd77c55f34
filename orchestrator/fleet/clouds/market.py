"""What is for sale: offers as the providers last gave them, less what cools down after a refusal."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

import structlog

from orchestrator.clock import Clock
from orchestrator.store.rows import Worker
from provider_clients.base import Provider
from provider_clients.errors import BadCredentials, ProviderError
from scaling.snapshot import Capability, Offer

COOL_DOWN_S = 180.0
SEEN_MAX = 3
SEEN_S_MAX = 3600.0
"""What machines of an offer turned out to run is believed over what the offer says, for an hour."""
log = structlog.get_logger()


class Market:
    """A provider that fails to answer keeps its last offers; one with bad credentials, or disabled, has none."""

    def __init__(self, providers: dict[str, Provider], clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._offers: dict[str, tuple[Offer, ...]] = {}
        self._cooled_until: dict[tuple[str, str, float], float] = {}
        self._taken: Counter[tuple[str, str]] = Counter()
        self._seen: dict[tuple[str, str], deque[tuple[float, tuple[Capability, ...]]]] = {}
        self.faults: dict[str, str] = {}
        self.disabled: frozenset[str] = frozenset()
        self.hosted = frozenset(name for name, one in providers.items() if one.hosted)
        """Those whose machines cannot run our agent."""

    async def refresh(self) -> None:
        await asyncio.gather(*(self._ask(provider) for provider in self._providers.values()))

    async def _ask(self, provider: Provider) -> None:
        before = Counter({key: count for key, count in self._taken.items() if key[0] == provider.name})
        try:
            self._offers[provider.name] = await provider.offers()
            self._taken -= before
            self.faults.pop(provider.name, None)
        except ProviderError as error:
            self.faults[provider.name] = str(error)
            log.warning("offers_failed", provider=provider.name, error=str(error))
            if isinstance(error, BadCredentials):
                self._offers[provider.name] = ()

    def cool(self, worker: Worker, seconds: float = COOL_DOWN_S) -> None:
        """Leaves the offer of this one alone for a while: it had no capacity, or asked us to wait."""
        kind = (worker.provider, worker.gpu_class, worker.usd_per_hour)
        self._cooled_until[kind] = self._clock.now() + seconds

    def take(self, provider: str, gpu_class: str) -> None:
        """One was made. What the provider said that it has, it said before; its next word has it counted."""
        self._taken[provider, gpu_class] += 1

    def see(self, provider: str, gpu_class: str, capabilities: tuple[Capability, ...]) -> None:
        """A machine of this offer says what it runs. Without this, an offer that promises more than its machines keep
        would be bought again and again.
        """
        seen = self._seen.setdefault((provider, gpu_class), deque(maxlen=SEEN_MAX))
        seen.append((self._clock.now(), capabilities))

    def offers(self) -> tuple[Offer, ...]:
        return tuple(self._as_now(offer) for offer in self._all() if offer.provider not in self.disabled)

    def offer(self, provider: str, gpu_class: str) -> Offer | None:
        """The last one of that kind, whether or not it may be taken now."""
        return next(
            (one for one in self._all() if (one.provider, one.gpu_class) == (provider, gpu_class)), None
        )

    def _all(self) -> Iterable[Offer]:
        return (offer for name in sorted(self._offers) for offer in self._offers[name])

    def _as_now(self, offer: Offer) -> Offer:
        key = offer.provider, offer.gpu_class
        return replace(
            offer,
            cooled_s=max(0.0, self._cooled_until.get((*key, offer.usd_per_hour), 0.0) - self._clock.now()),
            count_max=max(0, offer.count_max - self._taken[key]),
            capabilities=self._kept(key) or offer.capabilities,
        )

    def _kept(self, key: tuple[str, str]) -> tuple[Capability, ...]:
        """What the latest machines of an offer ran, all together; one that is broken does not speak for the others."""
        since = self._clock.now() - SEEN_S_MAX
        seen = [one for at, one in self._seen.get(key, ()) if at >= since]
        return tuple(sorted({capability for capabilities in seen for capability in capabilities}))

"""Buying where no token says whose a purchase is: one at a time, with a look before, and after any doubt.

Beside its being new, a workload is told by its end: each launch of ours asks for another second of `expires`.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from provider_clients.base import Instance
from provider_clients.comput3.config import Comput3Config
from provider_clients.comput3.memory import Memory
from provider_clients.comput3.wire import LAUNCHED, Workload, address, parsed
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)
from provider_clients.http import ProviderHttp

SKEW_S_MAX = 60.0
"""Between their clock and ours, and between the end that was asked for and the one that was given."""
SOLD_OUT = re.compile(
    r"capacity|\bno (available |free )?(nodes?|gpus?|machines?|resources?)\b|not enough|not available|sold out"
    r"|\bcredits?\b|\bbalance\b|insufficient",
    re.IGNORECASE,
)
"""The API's own words; a proxy's "service unavailable" says nothing of what lies behind it."""
PAYMENT_REQUIRED = 402


@dataclass(frozen=True, slots=True)
class Order:
    """One launch: what was asked, when, and what was there before it."""

    kind: str
    sent_at: float
    expires: int
    before: frozenset[str]

    def fits(self, one: Workload, now: float) -> bool:
        """Whether it may be this order's: new, of its kind, and made in its time."""
        created = self.sent_at if one.created is None else one.created
        return (
            one.workload not in self.before
            and one.type == self.kind
            and self.sent_at - SKEW_S_MAX <= created <= now + SKEW_S_MAX
            and (one.expires is None or abs(one.expires - self.expires) <= SKEW_S_MAX)
        )

    def pick(self, fitting: Sequence[Workload], *, any_end: bool) -> Workload | None:
        """The one that ends when we asked; with `any_end`, one that fits will do. None where there are several."""
        exact = [one for one in fitting if one.expires == self.expires]
        choice = exact or (fitting if any_end else [])
        return choice[0] if len(choice) == 1 else None


@dataclass(slots=True)
class Purchases:
    """`look` reads `/workloads` now."""

    http: ProviderHttp
    config: Comput3Config
    memory: Memory
    look: Callable[[], Awaitable[tuple[Workload, ...]]]
    clock: Callable[[], float]
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _launched_at: float = -float("inf")
    _expires: int = 0

    async def buy(self, kind: str) -> Instance:
        """Raises as `Provider.create` does."""
        async with self._lock:
            order = await self._order(kind)
            try:
                return await self._launch(order)
            except (OutcomeUnknown, RateLimited) as doubt:
                return await self._resolve(order, doubt)

    async def _order(self, kind: str) -> Order:
        gap_s = self._launched_at + self.config.patience.launch_gap_s - time.monotonic()
        await asyncio.sleep(max(0.0, gap_s))
        try:
            listed = await self.look()
        except (OutcomeUnknown, NotFound) as error:
            raise NoCapacity(f"nothing was bought: {error}") from error
        now = self.clock()
        self._expires = max(self._expires + 1, int(now + self.config.lease_s))
        return Order(kind, now, self._expires, self.memory.ids() | {one.workload for one in listed})

    async def _launch(self, order: Order) -> Instance:
        self._launched_at = time.monotonic()
        body = {"type": order.kind, "expires": order.expires}
        try:
            reply = await self.http.write("POST", "/launch", json=body)
        except (Rejected, BadCredentials, NotFound) as error:
            raise refusal(error) from error
        launched = parsed(LAUNCHED, reply, "POST /launch")
        self.memory.of(launched.workload).launched_at = order.sent_at
        return Instance(
            id=launched.workload,
            tag="",
            gpu_class=order.kind,
            created_at=order.sent_at,
            lease_ends_at=float(order.expires),
            address=address(self.config.node_scheme, launched.node),
        )

    async def _resolve(self, order: Order, doubt: ProviderError) -> Instance:
        """Looks until a workload with just our end is there, or the list should have it by now."""
        patience = self.config.patience
        until = time.monotonic() + (0.0 if SOLD_OUT.search(str(doubt)) else patience.list_lag_s)
        fitting: tuple[Workload, ...] | None = None
        while True:
            is_last = time.monotonic() >= until
            fitting = await self._fitting(order, fitting)
            if ours := order.pick(fitting or (), any_end=is_last):
                return ours.instance(self.config.node_scheme)
            if is_last:
                raise verdict(doubt, fitting)
            await asyncio.sleep(min(patience.look_every_s, max(0.0, until - time.monotonic())))

    async def _fitting(
        self, order: Order, before: tuple[Workload, ...] | None
    ) -> tuple[Workload, ...] | None:
        """What fits now, or what fitted before if the look fails; None: no look succeeded yet."""
        try:
            return tuple(one for one in await self.look() if order.fits(one, self.clock()))
        except ProviderError:
            return before


def refusal(error: ProviderError) -> ProviderError:
    """What a clear no means: an empty account and an empty shelf both send the caller elsewhere."""
    unpaid = isinstance(error, Rejected) and error.status == PAYMENT_REQUIRED
    if unpaid or SOLD_OUT.search(str(error)):
        return NoCapacity(str(error))
    return Rejected(str(error)) if isinstance(error, NotFound) else error


def verdict(doubt: ProviderError, fitting: tuple[Workload, ...] | None) -> ProviderError:
    """What a doubtful launch means after all looks; `fitting` None: none of them succeeded."""
    if fitting is None:
        return OutcomeUnknown(f"{doubt}; and /workloads could not be read to see what became of it")
    if fitting:
        return OutcomeUnknown(f"{doubt}; and {len(fitting)} new workloads may be its outcome")
    if isinstance(doubt, RateLimited):
        return doubt
    if SOLD_OUT.search(str(doubt)):
        return NoCapacity(str(doubt))
    return OutcomeUnknown(f"{doubt}; no new workload has appeared so far")

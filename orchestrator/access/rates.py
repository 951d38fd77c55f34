"""How often a user may ask: token buckets in memory, at the rate of their subscription or of the settings."""

from collections import OrderedDict
from dataclasses import dataclass, field

from orchestrator.clock import Clock
from orchestrator.store.people import User
from orchestrator.store.protocol import Store

BURST_S = 2.0
BURST_MIN = 20.0
NAMES_MAX = 10_000
"""So many are remembered; a forgotten one begins with a full bucket."""
SUBSCRIPTIONS_S = 10.0
"""So long a changed subscription may take to count."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(slots=True)
class Buckets:
    """Of each name: `burst` at once, refilled at `per_s`."""

    clock: Clock
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def take(self, name: str, per_s: float, burst: float) -> float:
        """Takes one. Returns 0, or how many seconds to wait, and then nothing was taken."""
        bucket = self._filled(name, per_s, burst)
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return (1 - bucket.left) / per_s

    def wait_s(self, name: str, per_s: float, burst: float) -> float:
        """How long until one could be taken."""
        return max(0.0, (1 - self._filled(name, per_s, burst).left) / per_s)

    def _filled(self, name: str, per_s: float, burst: float) -> _Bucket:
        now = self.clock.now()
        bucket = self._buckets.setdefault(name, _Bucket(burst, now))
        self._buckets.move_to_end(name)
        while len(self._buckets) > NAMES_MAX:
            self._buckets.popitem(last=False)
        bucket.left = min(burst, bucket.left + (now - bucket.at) * per_s)
        bucket.at = now
        return bucket


class Rates:
    """The rate of each user. Subscriptions are read at most every 10 s."""

    def __init__(self, store: Store, clock: Clock, per_s: float | None) -> None:
        self._store = store
        self._clock = clock
        self._per_s = per_s
        self._buckets = Buckets(clock)
        self._subscribed: dict[int, float | None] = {}
        self._read_at = float("-inf")

    async def wait_s(self, user: User) -> float:
        """0 where the request may go on; otherwise in how many seconds the next one may."""
        per_s = await self._of(user)
        if per_s is None:
            return 0.0
        return self._buckets.take(user.id, per_s, max(BURST_MIN, BURST_S * per_s))

    async def _of(self, user: User) -> float | None:
        now = self._clock.now()
        if now - self._read_at >= SUBSCRIPTIONS_S:
            self._read_at = now
            self._subscribed = {one.id: one.requests_per_s for one in await self._store.list_subscriptions()}
        return self._subscribed.get(user.subscription_id) or self._per_s

"""Who may send next: a lane for each host, so that one that is slow or dead holds up its own deliveries only."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchestrator.store.rows import Delivery
from orchestrator.webhooks.breaker import Breaker

TOTAL_MAX = 20
PER_HOST_MAX = 4
WAITING_MAX = 100
"""In one lane. What else is due for its host stays in the store."""
FORGOTTEN_S = 3600.0
_FIRST_GUESS_S = 0.05
_NEWEST = 0.2
"""The share of the newest send in what a lane's sends are said to take."""


@dataclass(slots=True)
class Lane:
    """One host's deliveries in hand. `left_out` says that more of its were due than it took."""

    host: str
    breaker: Breaker = field(default_factory=Breaker)
    waiting: deque[Delivery] = field(default_factory=deque)
    sending: int = 0
    send_s: float = _FIRST_GUESS_S
    left_out: bool = False
    used_at: float = 0.0
    turn: int = 0

    @property
    def full(self) -> bool:
        return len(self.waiting) >= WAITING_MAX

    @property
    def wants_more(self) -> bool:
        return self.left_out and len(self.waiting) <= PER_HOST_MAX

    @property
    def until_empty_s(self) -> float:
        return len(self.waiting) * self.send_s / PER_HOST_MAX

    def took(self, seconds: float) -> None:
        self.send_s += _NEWEST * (seconds - self.send_s)

    def may_send(self, now: float) -> bool:
        return bool(self.waiting) and self.sending < self.breaker.sends_max(now, PER_HOST_MAX)

    def may_go(self, now: float) -> bool:
        """Idle, and nothing of its host is worth remembering."""
        well = self.breaker.silent == 0 or now > self.used_at + FORGOTTEN_S
        return well and not self.waiting and not self.sending


@dataclass(slots=True)
class LeftOut:
    """Deliveries that a lane did not take: it is full, or its circuit is open."""

    lane: Lane
    deliveries: list[Delivery] = field(default_factory=list)


class Lanes:
    """All lanes, and the ids of all that is in hand: waiting in one of them, or on its way."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._turns = itertools.count(1)
        self.in_hand: set[int] = set()

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def sending(self) -> int:
        return sum(lane.sending for lane in self)

    def of(self, delivery: Delivery) -> Lane:
        host = host_of(delivery.url)
        return self._lanes.setdefault(host, Lane(host))

    def take(self, due: Iterable[Delivery], now: float) -> list[LeftOut]:
        """Puts each into its host's lane, and returns what those did not take."""
        left: dict[str, LeftOut] = {}
        for delivery in due:
            lane = self.of(delivery)
            if lane.full or lane.breaker.is_open(now):
                left.setdefault(lane.host, LeftOut(lane)).deliveries.append(delivery)
            else:
                lane.waiting.append(delivery)
                self.in_hand.add(delivery.id)
        return list(left.values())

    def clear(self, lane: Lane) -> list[Delivery]:
        """Takes out of hand what waits in it."""
        dropped = list(lane.waiting)
        lane.waiting.clear()
        self.in_hand.difference_update(one.id for one in dropped)
        return dropped

    def begin(self, now: float) -> tuple[Lane, Delivery] | None:
        """The next to send, if any may be sent now: hosts take turns, those with the fewest on their way first."""
        ready = [lane for lane in self if lane.may_send(now)]
        if not ready or self.sending >= TOTAL_MAX:
            return None
        lane = min(ready, key=lambda one: (one.sending, one.turn))
        lane.turn = next(self._turns)
        lane.sending += 1
        lane.used_at = now
        return lane, lane.waiting.popleft()

    def end(self, lane: Lane) -> None:
        """A send is over, whatever came of it. It stays in hand until that is recorded."""
        lane.sending -= 1

    def drop(self, delivery: Delivery) -> None:
        """Takes it out of hand."""
        self.in_hand.discard(delivery.id)

    def forget(self, now: float) -> None:
        self._lanes = {host: lane for host, lane in self._lanes.items() if not lane.may_go(now)}


def host_of(url: str) -> str:
    """Host and port as written, in lower case; the URL itself where it has none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower() or url
    except ValueError:
        return url

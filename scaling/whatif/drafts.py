"""What is asked for: machines for the jobs that would be late without them, at the last moment that is early enough."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scaling.demand.catalogue import Fit
from scaling.demand.supply import SERVICE_S_MIN
from scaling.estimate import Times
from scaling.place import Patience
from scaling.snapshot import Need
from scaling.whatif.boots import Boot, boot_of, boot_paid_s
from scaling.whatif.orders import CONFIRM_S
from scaling.whatif.walk import Ask, Short

HOPELESS_PERCENT = 20
"""A machine is not ordered for a job that only so many boots of a hundred would be in time for."""
WORTH_SHARE = 0.5
"""What a machine saves must be worth so much of what its start costs; jobs that come later earn the rest."""
DRAFTED_MAX = 500
"""Far more than are ordered by one look; for the jobs behind them the next look drafts."""
LOOK_BACK = 32
"""A job goes to one of so many of the slots that were drafted last."""
SOON_S = 5.0
LATE_SHARES = tuple(1 - percent / 100 for percent in range(10, 100))
"""Of boots, how many take longer than each of the quantiles that are tried."""
Start = tuple[float, int]
"""When a job would begin, and on which slot of the row."""


@dataclass(slots=True)
class New:
    """A machine that could be ordered, and whose jobs it would do. The first is due in `due_s` seconds."""

    fit: Fit
    due_s: float
    asks: list[Ask] = field(default_factory=list)

    @property
    def first(self) -> Need:
        return self.asks[0].need


@dataclass(slots=True)
class Slot:
    """One of the slots of such a machine: when it is free, in seconds from now, and what it has in memory then."""

    machine: New
    free_s: float
    model: str = ""


@dataclass(slots=True)
class Draft:
    """Machines to be ordered now, by what they are for; when the next is; and how many would be needed right away."""

    due: list[New] = field(default_factory=list)
    soon: list[New] = field(default_factory=list)
    """What would be ordered within moments; what was intended for it stays."""
    next_s: float = math.inf
    instant: list[New] = field(default_factory=list)
    """More machines that would have jobs in time if they were here already."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order is weighed by: a late job's price in seconds of a machine, and how long jobs may wait."""

    times: Times
    price_s: float
    patience: Patience
    at_once: bool = False
    """Whether it is ordered as soon as it is worth it, and not at the last moment."""
    boots: dict[tuple[str, str], Boot] = field(default_factory=dict)
    """Those that were asked for, by provider and class."""

    def boot(self, fit: Fit) -> Boot:
        kind = (fit.offer.provider, fit.offer.gpu_class)
        found = self.boots.get(kind)
        if found is None:
            found = self.boots[kind] = boot_of(self.times.boot(*kind))
        return found

    def load_s(self, need: Need, fit: Fit) -> float:
        return self.times.load(need, fit.offer.gpu_class).mean_s

    def service_s(self, need: Need, fit: Fit) -> float:
        return max(SERVICE_S_MIN, self.times.service(need, fit.offer.gpu_class).mean_s)


def draft(shorts: Sequence[Short], terms: Terms) -> Draft:
    """What to order for jobs that would be late. Those for which it is no use become late jobs of their groups."""
    plan, new, instant = Draft(), _Row(terms), _Row(terms)
    for short in shorts:
        if fit := _hopeful(short, terms):
            load_s = terms.load_s(short.ask.need, fit)
            new.give(short, fit, min(terms.boot(fit).quantile_s(50), short.due_s - load_s))
            continue
        short.ask.late += short.count
        if not instant.full and (fit := _late_only_by_boot(short, terms)):
            instant.give(short, fit, 0.0)
    for one in new.machines:
        _weigh(one, terms, plan)
    plan.instant = instant.machines
    return plan


def _hopeful(short: Short, terms: Terms) -> Fit | None:
    """The cheapest that may well boot in time."""
    need, due_s = short.ask.need, short.due_s
    for fit in short.ask.fits:
        if terms.boot(fit).quantile_s(HOPELESS_PERCENT) + terms.load_s(need, fit) <= due_s:
            return fit
    return None


def _late_only_by_boot(short: Short, terms: Terms) -> Fit | None:
    """The cheapest that would be in time if it were here already."""
    need, due_s = short.ask.need, short.due_s
    return next((fit for fit in short.ask.fits if terms.load_s(need, fit) <= due_s), None)


class _Row:
    """Machines that are not there yet, filled like those that are."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._slots: list[Slot] = []
        self.machines: list[New] = []

    @property
    def full(self) -> bool:
        return len(self.machines) >= DRAFTED_MAX

    def give(self, short: Short, fit: Fit, free_s: float) -> None:
        """Each to a slot that has its model and is in time; else to that which is free first, if it is in time; else
        to another machine, which is free in `free_s`.
        """
        if self.full:
            return
        ask, slots = short.ask, self._slots
        load_s, service_s = self._terms.load_s(ask.need, fit), self._terms.service_s(ask.need, fit)
        warm, cold = self._in_time(short, fit, load_s)
        for _ in range(short.count):
            if self.full:
                return
            heap = _looked_back(warm, slots) or _looked_back(cold, slots)
            if not heap:
                heap = self._another(short, fit, free_s, load_s)
                cold.extend(heap[1:])
                del heap[1:]
            start_s, place = heapq.heappop(heap)
            one = slots[place]
            one.free_s, one.model = start_s + service_s, ask.task.name
            one.machine.asks.append(ask)
            if one.free_s <= short.due_s:
                heapq.heappush(warm, (one.free_s, place))

    def _another(self, short: Short, fit: Fit, free_s: float, load_s: float) -> list[Start]:
        """All slots of one more machine."""
        self.machines.append(New(fit, short.due_s))
        begin = len(self._slots)
        self._slots.extend([Slot(self.machines[-1], free_s) for _ in range(fit.offer.capacity)])
        return [(free_s + load_s, place) for place in range(begin, len(self._slots))]

    def _in_time(self, short: Short, fit: Fit, load_s: float) -> tuple[list[Start], list[Start]]:
        """Where such a job would start in time, with its model in memory and without: two heaps."""
        warm: list[Start] = []
        cold: list[Start] = []
        name, due_s, offer = short.ask.task.name, short.due_s, fit.offer
        begin = max(0, len(self._slots) - LOOK_BACK)
        for place, one in enumerate(self._slots[begin:], begin):
            alike = one.model == name
            start_s = one.free_s if alike else one.free_s + load_s
            if start_s <= due_s and one.machine.fit.offer is offer:
                (warm if alike else cold).append((start_s, place))
        heapq.heapify(warm)
        heapq.heapify(cold)
        return warm, cold


def _looked_back(heap: list[Start], slots: Sequence[Slot]) -> list[Start]:
    """Without those at its top that too many were drafted after."""
    while heap and heap[0][1] < len(slots) - LOOK_BACK:
        heapq.heappop(heap)
    return heap


def _weigh(one: New, terms: Terms, plan: Draft) -> None:
    """When to order it: later costs less, since more jobs come to share it and others may be done before; but then
    more of its jobs are late. What costs nothing is ordered at once.
    """
    boot, load_s = terms.boot(one.fit), terms.load_s(one.first, one.fit)
    start_s = load_s + boot_paid_s(boot, one.fit.offer)
    lead_s = _lead_s(one, boot, load_s, start_s, terms)
    saved_s = terms.price_s * len(one.asks) * boot.share_below(lead_s - load_s)
    wait_s = one.due_s - lead_s - CONFIRM_S
    if saved_s < WORTH_SHARE * start_s:
        for ask in one.asks:
            ask.late += 1
    elif wait_s <= 0.0 or terms.at_once or not one.fit.offer.usd_per_hour:
        plan.due.append(one)
    else:
        plan.next_s = min(plan.next_s, wait_s)
        if wait_s < SOON_S:
            plan.soon.append(one)


def _lead_s(one: New, boot: Boot, load_s: float, start_s: float, terms: Terms) -> float:
    """How long before its first job is due it is ordered, at the least expected cost."""
    late_s, least, best_s = terms.price_s * len(one.asks), math.inf, 0.0
    due_s, target_s = one.due_s, terms.patience.of(one.first).wait_s
    for share, boot_s in zip(LATE_SHARES, boot.quantiles_s[9:], strict=True):
        lead_s = boot_s + load_s
        if lead_s > due_s:
            if least < math.inf:
                break
            lead_s = due_s
        cost = late_s * share + start_s * lead_s / target_s
        if cost < least or (cost == least and lead_s < best_s):
            least, best_s = cost, lead_s
    return best_s


def machines(work_s: float, target_s: float) -> int:
    """How many more would do so much work within the target."""
    return int(work_s / target_s + 0.5)


def soonest(waits_s: Iterable[float]) -> float | None:
    least = min(waits_s, default=math.inf)
    return None if math.isinf(least) else max(0.0, least)

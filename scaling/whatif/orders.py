"""What is asked for: machines for the jobs that would be late without them, at the last moment that is early enough."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scaling.demand.catalogue import Fit
from scaling.estimate import Times
from scaling.snapshot import Need
from scaling.whatif.boots import Boot, boot_of
from scaling.whatif.walk import Ask

HOPELESS_PERCENT = 20
"""A machine is not ordered for a job that only so many boots of a hundred would be in time for."""
WORTH_SHARE = 0.5
"""What a machine saves must be worth so much of what its start costs; jobs that come later earn the rest."""
LOOK_BACK = 32
"""A job goes to one of so many of the machines that were drafted last."""
CONFIRM_S = 2.0
"""An order must be needed for so long before it is placed."""


@dataclass(slots=True)
class New:
    """A machine that could be ordered, and whose jobs it would do. Seconds from now: the first is due then."""

    fit: Fit
    due_s: float
    free_s: float
    need: Need
    """What it has in memory then."""
    asks: list[Ask] = field(default_factory=list)

    @property
    def first(self) -> Need:
        return self.asks[0].need


@dataclass(slots=True)
class Draft:
    """Machines to be ordered now, by what they are for; when the next is; and how many would be needed right away."""

    due: list[New] = field(default_factory=list)
    next_s: float = math.inf
    instant: dict[Fit, int] = field(default_factory=dict)
    """Of each offer, how many more machines would have jobs in time if they were here already."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order is weighed by: a late job's price in seconds of a machine, and the target."""

    times: Times
    price_s: float
    target_s: float

    def boot(self, fit: Fit) -> Boot:
        return boot_of(self.times.boot(fit.offer.provider, fit.offer.gpu_class))

    def load_s(self, need: Need, fit: Fit) -> float:
        return self.times.load(need, fit.offer.gpu_class).mean_s

    def service_s(self, need: Need, fit: Fit) -> float:
        return max(0.001, self.times.service(need, fit.offer.gpu_class).mean_s)


def draft(short: Sequence[tuple[float, Ask]], fit_of: Mapping[int, Fit | None], terms: Terms) -> Draft:
    """What to order for jobs that would be late. Those for which it is no use become late jobs of their groups."""
    plan, new = Draft(), _Row(terms)
    hopeless: list[tuple[float, Ask, Fit]] = []
    for due_s, ask in short:
        fit = fit_of.get(id(ask))
        if fit is None:
            ask.late += 1
            continue
        boot, load_s = terms.boot(fit), terms.load_s(ask.need, fit)
        if boot.quantile_s(HOPELESS_PERCENT) + load_s > due_s:
            ask.late += 1
            if load_s <= due_s:
                hopeless.append((due_s, ask, fit))
        else:
            new.give(due_s, ask, fit, min(boot.quantile_s(50), due_s - load_s))
    for one in new.row:
        _weigh(one, terms, plan)
    instant = _Row(terms)
    for due_s, ask, fit in hopeless:
        instant.give(due_s, ask, fit, 0.0)
    for one in instant.row:
        plan.instant[one.fit] = plan.instant.get(one.fit, 0) + 1
    return plan


class _Row:
    """Machines that are not there yet, filled like those that are."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.row: list[New] = []

    def give(self, due_s: float, ask: Ask, fit: Fit, free_s: float) -> None:
        """To one that has its model and is in time; else to that which is free first, if it is in time; else to
        another one.
        """
        need = ask.need
        best: tuple[bool, float, int] | None = None
        for place, one in enumerate(self.row[-LOOK_BACK:], start=max(0, len(self.row) - LOOK_BACK)):
            start_s = one.free_s if _alike(one.need, need) else one.free_s + self._terms.load_s(need, fit)
            if one.fit is fit and start_s <= due_s:
                found = (not _alike(one.need, need), start_s, place)
                best = found if best is None else min(best, found)
        if best is None:
            start_s = free_s + self._terms.load_s(need, fit)
            self.row.append(New(fit, due_s, start_s, need))
            best = (True, start_s, len(self.row) - 1)
        one = self.row[best[2]]
        one.free_s, one.need = best[1] + self._terms.service_s(need, fit), need
        one.asks.append(ask)


def _alike(one: Need, other: Need) -> bool:
    return one.engine == other.engine and one.model == other.model


def _weigh(one: New, terms: Terms, plan: Draft) -> None:
    """When to order it: later costs less, since more jobs come to share it and others may be done before; but then
    more of its jobs are late. What costs nothing is ordered at once.
    """
    boot, load_s = terms.boot(one.fit), terms.load_s(one.first, one.fit)
    start_s = load_s + (boot.mean_s if one.fit.offer.boot_billed else 0.0)
    lead_s = _lead_s(one, boot, load_s, start_s, terms)
    saved_s = terms.price_s * len(one.asks) * boot.share_below(lead_s - load_s)
    wait_s = one.due_s - lead_s - CONFIRM_S
    if saved_s < WORTH_SHARE * start_s:
        for ask in one.asks:
            ask.late += 1
    elif wait_s <= 0.0 or not one.fit.offer.usd_per_hour:
        plan.due.append(one)
    else:
        plan.next_s = min(plan.next_s, wait_s)


def _lead_s(one: New, boot: Boot, load_s: float, start_s: float, terms: Terms) -> float:
    """How long before its first job is due it is ordered, at the least expected cost."""
    late_s, best = terms.price_s * len(one.asks), (math.inf, 0.0)
    for percent in range(10, 100):
        lead_s = boot.quantile_s(percent) + load_s
        if lead_s > one.due_s and percent > 10:
            break
        lead_s = min(lead_s, one.due_s)
        best = min(best, (late_s * (1 - percent / 100) + start_s * lead_s / terms.target_s, lead_s))
    return best[1]


def machines(work_s: float, target_s: float) -> int:
    """How many more would do so much work within the target."""
    return int(work_s / target_s + 0.5)


def soonest(waits_s: Iterable[float]) -> float | None:
    least = min(waits_s, default=math.inf)
    return None if math.isinf(least) else max(0.0, least)

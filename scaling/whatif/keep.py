"""Which machines stay although nothing needs them now, and which are wanted although no job can wait for them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scaling.demand.catalogue import ORDERED, Fit
from scaling.demand.walk import Scene
from scaling.estimate import Times
from scaling.health import PAID_MARGIN_S, may_go, paid_left_s
from scaling.snapshot import Offer, WorkerView
from scaling.states import WorkerState
from scaling.whatif.boots import Boot, boot_of, boot_paid_s
from scaling.whatif.forecast import KNOB, SLOT_S, Day, Slot
from scaling.whatif.lanes import idle_order
from scaling.whatif.learned import Kind, Learned, Rank, Trend, keeping_s, kind_of, ranked

GROWTH_BOOTS = 0.35
"""Growth is measured over a third of a boot."""
GROWTH_WEIGHT = 2.0
"""It is taken to go on for so many boots."""
FORGET_S = 14 * 86_400.0
DAYS_MAX = 16
"""Of so many kinds it is known when in a day they are needed."""
UNUSED_S_MIN = 20.0
"""A machine on order is given up when it has had nothing to do for so long: needs come and go within seconds."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What it costs to end a machine of a kind and to need it again, in its seconds. `late` is the share of boots that
    are too long for a job that comes.
    """

    start_s: float
    """Of its boot what is paid."""
    again_s: float
    late: float
    boot: Boot
    step_s: float
    """What is paid at once."""


@dataclass(slots=True)
class Keeper:
    """Goes through the machines of each kind by rank: those that are needed first, then the idle, then the ordered."""

    scene: Scene
    learned: Learned
    target_s: float
    load_s: float
    """Of a usual model."""
    used: frozenset[str]
    needed: frozenset[str]
    """Those of the used whose work asks for machines."""
    at_work: Counter[Kind] = field(default_factory=Counter)
    """How many machines of each kind have something to do."""
    kept: set[str] = field(default_factory=set)
    surplus: set[str] = field(default_factory=set)
    unused: dict[str, float] = field(default_factory=dict)
    shed: set[Kind] = field(default_factory=set)
    """Kinds of which some were too many."""
    next_s: float = math.inf

    def worth(self, kind: Kind, offer: Offer | None) -> Worth:
        boot = boot_of(self.scene.times.boot(kind[0], kind[1]))
        paid_s = boot_paid_s(boot, offer)
        late = 1.0 - boot.share_below(self.target_s - self.load_s)
        return Worth(
            paid_s, paid_s + self.learned.price_s * late, late, boot, offer.granularity_s if offer else 1.0
        )

    def sort(self, kind: Kind, workers: Iterable[WorkerView]) -> None:
        """Fills `kept` and `surplus` with workers of this kind. Intents that nothing needs are withdrawn for free."""
        idle, ordered, count, at_work = [], [], 0, 0
        for one in workers:
            if one.id in self.used:
                count += 1
                at_work += one.id in self.needed
            elif one.state is WorkerState.INTENDED:
                continue
            elif one.state in ORDERED:
                ordered.append(one)
            elif may_go(one):
                idle.append(one)
            else:
                count += 1
        self.at_work[kind] = at_work
        spare = (*sorted(idle, key=idle_order), *sorted(ordered, key=_oldest_order))
        if spare:
            self._sort_spare(kind, spare, count)

    def _sort_spare(self, kind: Kind, spare: Sequence[WorkerView], count: int) -> None:
        """Those that nothing needs, after `count` that must stay. All of a kind come from one offer."""
        offer = self.scene.catalogue.of(spare[0])
        worth, room = self.worth(kind, offer), True
        expected = self.expected(kind, worth)
        for place, one in enumerate(spare, start=count + 1):
            pays = place <= expected or self._pays(kind, place, one, worth)
            room = room and pays and not self._outlived(one, offer)
            if room or not self._may_end(one, offer):
                self.kept.add(one.id)
            else:
                self.surplus.add(one.id)
        if not room:
            self.shed.add(kind)

    def stays(self, kind: Kind) -> bool:
        """Whether none of a kind was too many, so that one more may be wanted."""
        return kind not in self.shed

    def pays_new(self, fit: Fit, place: int) -> bool:
        """Whether one more would be worth its start, and then be kept: it is needed, and comes too late for now."""
        kind = kind_of(fit.offer)
        worth = self.worth(kind, fit.offer)
        rank = self.learned.rank(kind, place) or Rank(None)
        return (
            keeping_s(rank.pauses_s, 0.0, worth.again_s, fit.offer.granularity_s) + worth.start_s
            < worth.again_s
        )

    def expected(self, kind: Kind, worth: Worth) -> int:
        """How many the time of day asks for so soon that to keep them until then costs less than to start them anew, or
        that they are on order. Within a slot they are needed in the middle of it, for all that is known.
        """
        if not self._by_the_day(kind):
            return 0
        within_s = max(self.lead_s(kind, worth), worth.again_s - SLOT_S / 2)
        if within_s <= 0.0:
            return 0
        rises = self.learned.days[kind].rises(self._now_s(), within_s)
        return max([level for _, level in rises], default=0)

    def lead_s(self, kind: Kind, worth: Worth) -> float:
        """How long before it is needed by the time of day a machine is ordered; 0 where jobs rather wait for boots."""
        if worth.again_s - worth.start_s < SLOT_S / 2 or not self._by_the_day(kind):
            return 0.0
        return worth.boot.mean_s + self.load_s

    def _by_the_day(self, kind: Kind) -> bool:
        day = self.learned.days.get(kind)
        return day is not None and day.score.helps and self.scene.policy.knobs.get(KNOB, 1) > 0

    def paused_too_long(self) -> frozenset[str]:
        """Machines that take no jobs and that we pay for."""
        limit_s = self.scene.policy.idle_s_usual
        paused = [one for one in self.scene.snapshot.workers if one.paused and may_go(one)]
        return frozenset([one.id for one in paused if one.spare_s > limit_s])

    def _pays(self, kind: Kind, place: int, worker: WorkerView, worth: Worth) -> bool:
        if not worker.usd_per_hour:
            return True
        rank = self.learned.rank(kind, place)
        if rank is None and worker.state in ORDERED:
            return False
        age_s = worker.spare_s if rank is None else rank.age_s(self._now_s())
        keep_s = keeping_s(rank.pauses_s if rank else (), age_s, worth.again_s, worth.step_s)
        if worker.state in ORDERED and worth.start_s:
            keep_s += worth.boot.rest_s(worker.ordered_s)
        return keep_s < worth.again_s

    def ahead(self, offer: Offer, trend: Trend) -> int:
        """How many more than now will be needed when what is ordered now has booted, as needs grow now. Where boots are
        quick enough for jobs to wait for them, none.
        """
        worth = self.worth(kind_of(offer), offer)
        return int(GROWTH_WEIGHT * worth.late * trend.growth(span_s(worth.boot)) * worth.boot.mean_s)

    def _now_s(self) -> float:
        return self.scene.snapshot.now_s

    def _outlived(self, worker: WorkerView, offer: Offer | None) -> bool:
        """Idle for longer than may be, or of an old lease with a hard end: the next job gets a fresh one."""
        if worker.state in ORDERED:
            return False
        policy = self.scene.policy
        idle_s = policy.idle_s if worker.usd_per_hour else policy.idle_s_usual
        grace_s = 0.0 if worker.jobs_done else policy.grace_s
        if idle_s is not None and worker.spare_s > max(idle_s, grace_s):
            return True
        replace_s = offer.replace_after_s if offer else None
        return replace_s is not None and worker.lease_age_s > replace_s

    def _may_end(self, worker: WorkerView, offer: Offer | None) -> bool:
        """What is paid is used up, and an order has had nothing to do for a while."""
        if worker.state in ORDERED:
            since_s = self.learned.unused.get(worker.id, self._now_s())
            self.unused[worker.id] = since_s
            left_s = since_s + UNUSED_S_MIN - self._now_s()
            if left_s > 0:
                self.next_s = min(self.next_s, left_s)
            return left_s <= 0
        return paid_left_s(worker, offer) <= PAID_MARGIN_S


def _oldest_order(worker: WorkerView) -> tuple[float, str]:
    return (-worker.ordered_s, worker.id)


def span_s(boot: Boot) -> float:
    """Over how long a growth is measured."""
    return GROWTH_BOOTS * boot.mean_s


def trends_after(
    learned: Learned, needed: Mapping[Kind, int], times: Times, now_s: float
) -> dict[Kind, Trend]:
    """What is needed at the very first look is not taken for growth."""
    found, first = {}, not learned.trends
    for kind in sorted(learned.ranks.keys() | needed.keys()):
        count = needed.get(kind, 0)
        known = count if first else 0
        before = learned.trends.get(kind, Trend(known, known, now_s))
        found[kind] = before.moved(count, now_s, span_s(boot_of(times.boot(kind[0], kind[1]))))
    return found


def ranks_after(learned: Learned, needed: Mapping[Kind, int], now_s: float) -> dict[Kind, tuple[Rank, ...]]:
    """Kinds that nobody needed for long are forgotten: prices change."""
    found = {
        kind: ranked(learned.ranks.get(kind, ()), needed.get(kind, 0), now_s)
        for kind in sorted(learned.ranks.keys() | needed.keys())
    }
    return {kind: ranks for kind, ranks in found.items() if ranks and ranks[0].age_s(now_s) < FORGET_S}


def days_after(learned: Learned, needed: Mapping[Kind, int], now_s: float) -> dict[Kind, Day]:
    """Of the kinds that were needed last."""
    latest: Iterable[Kind] = learned.ranks
    if len(learned.ranks) > DAYS_MAX:
        latest = sorted(latest, key=lambda kind: (learned.ranks[kind][0].age_s(now_s), kind))[:DAYS_MAX]
    return {
        kind: learned.days.get(kind, Day(Slot(now_s))).seen(needed.get(kind, 0), now_s) for kind in latest
    }

"""Jobs that have no time left for a machine that may be taken away: they are for machines that stay, and for good."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scaling.demand.catalogue import ORDERED, Fit, Wish, wish
from scaling.demand.supply import rest_s
from scaling.demand.walk import Scene
from scaling.place import Stay, kind_of, runnable
from scaling.plan import Hold
from scaling.snapshot import JobGroup, Need, Offer, WorkerView
from scaling.whatif.boots import boot_of
from scaling.whatif.drafts import Draft, Terms, draft
from scaling.whatif.lanes import Task
from scaling.whatif.learned import PRICE_S_MAX
from scaling.whatif.orders import Orders
from scaling.whatif.walk import Ask, Short

Queue = tuple[JobGroup, Sequence[Fit]]
"""A group, or a part of one, and what could be leased for it."""


@dataclass(slots=True)
class Tiers:
    """`whole` has the needs of parts that fell back, and that of the whole group: they avoid every machine that may be
    taken away. `risky` are these machines, by their ids. Where nothing is taken away, all of it is empty.
    """

    scene: Scene
    orders: Orders
    whole: dict[Need, Need] = field(default_factory=dict)
    risky: set[str] = field(default_factory=set)
    _stays: dict[Wish, Stay | None] = field(default_factory=dict)
    _leased: list[tuple[WorkerView, Offer]] | None = None

    def parted(self, group: JobGroup) -> Iterator[Queue]:
        """The jobs of a group that fell back, and the others, each with what could be leased for them."""
        fits = self.orders.to_be_had(self.scene.catalogue.fits_for(group))
        stay = None if group.need.low_priority else self._stay(group.need)
        if stay is None or group.slack_s is None:
            yield group, fits
        elif group.slack_s > stay.most_s:
            yield replace(group, slack_s=group.slack_s - stay.most_s), _settled(fits)
        elif not stay.bars(group.slack_s):
            yield group, fits
        else:
            first, rest = _split(group, stay.most_s - group.slack_s)
            yield replace(first, need=self._apart(group.need)), [one for one in fits if not one.risky]
            if rest.count:
                yield replace(rest, slack_s=max(0.0, (rest.slack_s or 0.0) - stay.most_s)), fits

    def ask(self, group: JobGroup, task: Task, fits: Sequence[Fit], count: int) -> Ask | None:
        """Those that fell back begin when nine of ten are still done in time, or else half, whatever the target. None
        for others.
        """
        if group.need not in self.whole:
            return None
        slack_s, fit = group.slack_s or 0.0, fits[0]
        service = self.scene.times.service(group.need, fit.offer.gpu_class)
        load_s = self.scene.times.load(group.need, fit.offer.gpu_class).mean_s
        surely_s = slack_s - service.p90_s
        begin_s = surely_s if surely_s >= fit.boot_s + load_s else max(0.0, slack_s - service.mean_s)
        return Ask(group, task, fits, count, [(begin_s, count)], 0)

    def draft(self, shorts: Sequence[Short], terms: Terms) -> Draft:
        """Machines for what lacks one: first, and whatever they are worth otherwise, for those that fell back."""
        sure = [one for one in shorts if one.ask.need in self.whole]
        plan = draft([one for one in shorts if one.ask.need not in self.whole], terms)
        if sure:
            ours = draft(sure, replace(terms, price_s=PRICE_S_MAX, at_once=True))
            plan.due, plan.soon = ours.due + plan.due, ours.soon + plan.soon
            plan.next_s, plan.instant = min(ours.next_s, plan.next_s), ours.instant + plan.instant
        return plan

    def stays(self) -> Mapping[tuple[str, str | None], Stay]:
        """What claims go by, also for jobs that run now and may come back."""
        if not self.scene.catalogue.lossy:
            return {}
        needs = {(one.need.engine, one.need.model): one.need for one in self.scene.snapshot.groups}
        for run in (run for worker in self.scene.supply for run in worker.running):
            needs.setdefault((run.engine, run.model), Need(run.engine, run.model))
        found = {key: self._stay(need) for key, need in needs.items()}
        return {key: stay for key, stay in found.items() if stay is not None}

    def holds(self, asks: Iterable[Ask]) -> tuple[Hold, ...]:
        """Both parts of a group are held as one."""
        held: dict[Need, int] = {}
        for one in asks:
            if one.held:
                need = self.whole.get(one.need, one.need)
                held[need] = held.get(need, 0) + one.held
        return tuple([Hold(need, count) for need, count in held.items()])

    def _stay(self, need: Need) -> Stay | None:
        if not self.scene.catalogue.lossy:
            return None
        key = wish(need)
        if key not in self._stays:
            stay = self.scene.catalogue.stay(need)
            self._stays[key] = stay and self._with_leased(need, stay)
        return self._stays[key]

    def _with_leased(self, need: Need, stay: Stay) -> Stay | None:
        """None where no machine that stays may be leased, nor is."""
        catalogue = self.scene.catalogue
        fits = catalogue.fits(need)
        there = [
            self._free_s(one) + catalogue.run_s(need, offer)
            for one, offer in self._workers()
            if not _is_risky(offer, fits) and runnable(need, catalogue.host(one), one.id)
        ]
        if not there and self.orders.refusal([one for one in fits if not one.risky]):
            return None
        kinds = [kind_of(one) for one, offer in self._workers() if _is_risky(offer, fits)]
        return Stay(stay.kinds.union(kinds), min([stay.least_s, *there]), stay.most_s)

    def _workers(self) -> Sequence[tuple[WorkerView, Offer]]:
        """With the offers that they came from."""
        if self._leased is None:
            found = ((one, self.scene.catalogue.of(one)) for one in self.scene.supply)
            self._leased = [(one, offer) for one, offer in found if offer is not None]
        return self._leased

    def _free_s(self, worker: WorkerView) -> float:
        """Until it can begin another job."""
        if worker.state in ORDERED:
            boot = boot_of(self.scene.times.boot(worker.provider, worker.gpu_class))
            return boot.rest_s(worker.ordered_s)
        rests_s = [rest_s(one, worker.gpu_class, self.scene.times) for one in worker.running]
        return 0.0 if worker.free_slots else min(rests_s)

    def _apart(self, need: Need) -> Need:
        """Of the same jobs, but for machines that stay."""
        fits = self.scene.catalogue.fits(need)
        risky = [one.id for one, offer in self._workers() if _is_risky(offer, fits)]
        self.risky.update(risky)
        apart = replace(need, avoid=(*need.avoid, *risky))
        self.whole[apart] = need
        return apart


def _is_risky(offer: Offer, fits: Sequence[Fit]) -> bool:
    return any(one.risky for one in fits if one.offer is offer)


def _settled(fits: Sequence[Fit]) -> Sequence[Fit]:
    """Without what may be taken away, where that comes after what stays: a cheap intent of before is not renewed."""
    if fits and not fits[0].risky and any(one.risky for one in fits):
        return [one for one in fits if not one.risky]
    return fits


def _split(group: JobGroup, window_s: float) -> tuple[JobGroup, JobGroup]:
    """The jobs that came so soon after the oldest, taken to have the same limit, and the rest."""
    ages_s = group.ages_s or (group.oldest_age_s,)
    since_s = group.oldest_age_s - window_s
    first = sum(age_s >= since_s for age_s in ages_s)
    count = group.count if first == len(ages_s) else math.ceil(first * group.count / len(ages_s))
    rest_s = ages_s[first:] or ages_s[-1:]
    slack_s = (group.slack_s or 0.0) + group.oldest_age_s - rest_s[0]
    return (
        replace(group, count=count, ages_s=ages_s[:first]),
        replace(
            group, count=group.count - count, oldest_age_s=rest_s[0], slack_s=slack_s, ages_s=ages_s[first:]
        ),
    )

"""What could be leased for a need, the cheapest for the job first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scaling.estimate import Times
from scaling.health import billed_s
from scaling.place import Host, Stay, kind_of, runnable
from scaling.snapshot import JobGroup, Need, Offer, Snapshot, WorkerView
from scaling.states import WorkerState

LIVES_MAX = 7.0
"""A job of more lives than this needs a thousand leases, which is as good as never; and no number overflows."""
RISK_MAX = 0.03
"""A machine that is taken away during so few jobs stays, as far as jobs can tell: about as many launches fail."""
FALL_BACK_S = 10.0
"""Kept free for looks, and for the wait until an order is bought."""
ORDERED = frozenset({WorkerState.INTENDED, WorkerState.CREATING, WorkerState.STARTING})
Wish = tuple[object, ...]


def wish(need: Need) -> Wish:
    """What decides on which machines a need runs; groups that differ in owner or priority share it."""
    return (
        need.engine,
        need.model,
        need.features,
        need.gpu_class,
        need.min_vram_gb,
        need.providers,
        need.usd_per_hour_max,
        need.avoid,
        need.max_time_s,
        need.queue,
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """An offer that runs a need, the cost of one job on a machine of its own (USD), and its boot (seconds).

    `risky`: the machine may well be taken away before the job is done.
    """

    offer: Offer
    cost_usd: float
    boot_s: float
    risky: bool = False


class Catalogue:
    def __init__(self, snapshot: Snapshot, times: Times) -> None:
        self._offers = sorted(snapshot.offers, key=_order)
        self._times = times
        self._by_kind: dict[tuple[str, str], list[Offer]] = {}
        for offer in self._offers:
            self._by_kind.setdefault((offer.provider, offer.gpu_class), []).append(offer)
        self._nearest: dict[tuple[str, str, float], Offer | None] = {}
        self._fits: dict[Wish, tuple[Fit, ...]] = {}
        self._stays: dict[Wish, Stay | None] = {}
        self.lossy = any(one.life_mean_s is not None for one in self._offers)
        """Whether machines of any offer may be taken away."""

    @cached_property
    def boot_s_max(self) -> float:
        boots_s = (self._times.boot(one.provider, one.gpu_class).mean_s for one in self._offers)
        return max(boots_s, default=0.0)

    def of(self, worker: WorkerView) -> Offer | None:
        """The offer that a worker came from: that nearest to its price if there are several of its class."""
        kind = (worker.provider, worker.gpu_class, worker.usd_per_hour)
        if kind not in self._nearest:
            same = self._by_kind.get(kind[:2], ())
            nearest = min(same, key=lambda one: abs(one.usd_per_hour - kind[2]), default=None)
            self._nearest[kind] = nearest
        return self._nearest[kind]

    def sold(self, kind: tuple[str, str, float]) -> Offer | None:
        """What is for sale of a provider, a class and a price."""
        same = self._by_kind.get(kind[:2], [])
        return next((one for one in same if one.usd_per_hour == kind[2]), None)

    def host(self, worker: WorkerView) -> Host:
        """What a worker can run. One on order says nothing of itself yet, so its offer does."""
        if worker.state in ORDERED and not worker.capabilities:
            return self.of(worker) or worker
        return worker

    def fits(self, need: Need) -> tuple[Fit, ...]:
        """All offers that run it, sold out or not: cheapest job first, then the faster boot, then by name."""
        key = wish(need)
        if key not in self._fits:
            found = [self._fit(need, offer) for offer in self._offers if runnable(need, offer)]
            self._fits[key] = tuple(sorted(found, key=lambda fit: (fit.cost_usd, fit.boot_s)))
        return self._fits[key]

    def fits_for(self, group: JobGroup) -> Sequence[Fit]:
        """The same, but before them whatever boots in time for the group's tightest start: on what may be taken away,
        with time left for a machine that stays.
        """
        fits, slack_s = self.fits(group.need), group.slack_s
        stay = self.stay(group.need) if slack_s is not None else None
        if slack_s is None or (stay is None and self.boot_s_max <= slack_s):
            return fits
        spare_s = stay.most_s if stay else 0.0
        return sorted(fits, key=lambda fit: fit.boot_s > (slack_s - spare_s if fit.risky else slack_s))

    def stay(self, need: Need) -> Stay | None:
        """When such jobs fall back to machines that stay; None where there are not both sorts.

        After "Can't Be Late" (Wu and others, NSDI 2024): cheap machines while there is slack, and the others, for good,
        as soon as one more loss could not be made up for. As jobs begin anew, what a loss takes is the whole job.
        """
        if not self.lossy:
            return None
        key = wish(need)
        if key not in self._stays:
            self._stays[key] = self._stay(need)
        return self._stays[key]

    def _stay(self, need: Need) -> Stay | None:
        fits = self.fits(need)
        risky = [one.offer for one in fits if one.risky]
        sure = [one.offer for one in fits if not one.risky]
        if not risky or not sure:
            return None
        tried_s = max(self.run_s(need, one) for one in risky)
        begun_s = min(self._begun_s(need, one) for one in sure)
        kinds = frozenset([kind_of(one) for one in risky])
        least_s = min(
            self._times.boot(one.provider, one.gpu_class).mean_s + self.run_s(need, one) for one in sure
        )
        return Stay(kinds, least_s, max(least_s, tried_s + begun_s + FALL_BACK_S))

    def run_s(self, need: Need, offer: Offer) -> float:
        """What a job takes on a fresh machine, in the mean."""
        load_s = self._times.load(need, offer.gpu_class).mean_s
        return load_s + self._times.service(need, offer.gpu_class).mean_s

    def _begun_s(self, need: Need, offer: Offer) -> float:
        """From the order to the result, in nine cases of ten of each part."""
        boot = self._times.boot(offer.provider, offer.gpu_class)
        load, service = self._times.load(need, offer.gpu_class), self._times.service(need, offer.gpu_class)
        return boot.p90_s + load.mean_s + service.p90_s

    def order_usd(self, worker: WorkerView) -> float:
        """What the boot of a worker on order will cost at least, as no bill shows it yet."""
        offer = self.of(worker)
        return 0.0 if offer is None else self._cost_usd(offer, 0.0)

    def alone(self, offer: Offer) -> Fit:
        """An order for no job that is known: it costs its boot."""
        boot_s = self._times.boot(offer.provider, offer.gpu_class).mean_s
        return Fit(offer, self._cost_usd(offer, 0.0), boot_s)

    def _fit(self, need: Need, offer: Offer) -> Fit:
        service_s = self._times.service(need, offer.gpu_class).mean_s
        boot_s = self._times.boot(offer.provider, offer.gpu_class).mean_s
        life_s = offer.life_mean_s
        risky = life_s is not None and -math.expm1(-self.run_s(need, offer) / life_s) > RISK_MAX
        return Fit(offer, self._cost_usd(offer, service_s), boot_s, risky)

    def _cost_usd(self, offer: Offer, service_s: float) -> float:
        """What is begun anew after each loss is paid again: see `leases` and `served_s`."""
        boot_s = self._times.boot(offer.provider, offer.gpu_class).mean_s if offer.boot_billed else 0.0
        lease_s = served_s(service_s, offer.life_mean_s) + boot_s
        return leases(service_s, offer.life_mean_s) * offer.usd_per_hour * billed_s(offer, lease_s) / 3600


def leases(service_s: float, life_s: float | None) -> float:
    """How many leases a job takes, in the mean, that begins anew when its machine is lost: a life is exponential, so
    each of them is enough with probability exp(-service / life).
    """
    return 1.0 if life_s is None else math.exp(_lives(service_s, life_s))


def served_s(service_s: float, life_s: float | None) -> float:
    """How long it runs on each of them, in the mean: a life that is cut off where the job is done. On all together so
    life * (exp(service / life) - 1).
    """
    return service_s if life_s is None else -life_s * math.expm1(-_lives(service_s, life_s))


def _lives(service_s: float, life_s: float) -> float:
    return min(LIVES_MAX, service_s / life_s)


def _order(offer: Offer) -> tuple[str, str, float, tuple[object, ...]]:
    return (offer.provider, offer.gpu_class, offer.usd_per_hour, offer.capabilities)

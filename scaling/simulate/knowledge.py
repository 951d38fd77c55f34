"""What a policy may know: what is for sale, and how long finished things took. Never what has not ended."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scaling.estimate import LOAD_PRIOR, SERVICE_PRIOR, estimate, life, pool_estimate
from scaling.plan import Launch
from scaling.simulate.machine import Run
from scaling.simulate.scenario import Scenario, Terms
from scaling.snapshot import Capability, Estimate, Estimates, Offer

SAMPLES_MAX = 200
"""Of each kind only so many are remembered, the latest."""
POOL_AGAIN = 1.1
Class = tuple[str, str]
Kind = tuple[str, str, float]
"""Provider, GPU class, USD an hour."""
Work = tuple[str, str, str]


class Boots:
    """Estimates by provider and class; one is made anew only when a boot of its kind has ended."""

    def __init__(self, known: Mapping[Class, Estimate]) -> None:
        self._known = known
        self._samples: dict[Class, deque[float]] = {}
        self.estimates = dict(known)

    def add(self, kind: Class, seconds: float) -> None:
        samples = self._samples.setdefault(kind, deque(maxlen=SAMPLES_MAX))
        samples.append(seconds)
        self.estimates[kind] = estimate(samples, self._known[kind])


@dataclass(slots=True)
class Alike:
    """Models of an engine on a class, together. They are pooled anew when a tenth more is known."""

    general: Estimate
    models: list[deque[float]] = field(default_factory=list)
    seen: int = 0
    pooled: int = 0
    prior: Estimate | None = None

    def add(self) -> Estimate:
        self.seen += 1
        if self.prior is None or self.seen > POOL_AGAIN * self.pooled:
            self.pooled = self.seen
            self.prior = pool_estimate([tuple(reversed(one)) for one in self.models], self.general)
        return self.prior


class History:
    """Estimates by engine, model and class, each shrunk to those of its engine there."""

    def __init__(self, general: Estimate) -> None:
        self._general = general
        self._samples: dict[Work, deque[float]] = {}
        self._alike: dict[Class, Alike] = {}
        self.estimates: dict[Work, Estimate] = {}

    def add(self, work: Work, seconds: float) -> None:
        alike = self._alike.setdefault((work[0], work[2]), Alike(self._general))
        samples = self._samples.get(work)
        if samples is None:
            samples = self._samples[work] = deque(maxlen=SAMPLES_MAX)
            alike.models.append(samples)
        samples.append(seconds)
        self.estimates[work] = estimate(samples, alike.add())


@dataclass(slots=True)
class Served:
    """How long machines of a kind served that are gone, together, and how many of them were lost."""

    seconds: float = 0.0
    losses: int = 0


class Knowledge:
    """Kept as things happen, so that a look costs nothing of what did not change since the last one."""

    def __init__(self, scenario: Scenario, models: Mapping[str, tuple[str, ...]]) -> None:
        self._terms = {_kind(one): one for one in scenario.offers}
        self.capabilities = tuple(Capability(engine, models=names) for engine, names in models.items())
        boots = {(one.provider, one.gpu_class): one.told() for one in scenario.offers}
        self._service = History(SERVICE_PRIOR)
        self._load = History(LOAD_PRIOR)
        self._boot = Boots(boots)
        self._leased: Counter[Kind] = Counter()
        self._served: dict[Kind, Served] = {}
        self._sold = {
            kind: _offer(one, self.capabilities, boots[kind[:2]], scenario.gpu_classes[one.gpu_class].vram_gb)
            for kind, one in self._terms.items()
        }
        self._offers: tuple[Offer, ...] | None = None
        self._estimates: Estimates | None = None

    def terms(self, action: Launch) -> Terms:
        return self._terms[action.provider, action.gpu_class, action.usd_per_hour]

    def sold(self, terms: Terms) -> Offer:
        """The offer as it is billed."""
        return self._sold[_kind(terms)]

    def offers(self) -> tuple[Offer, ...]:
        if self._offers is None:
            self._offers = tuple(
                replace(
                    one,
                    count_max=max(0, one.count_max - self._leased[kind]),
                    life_mean_s=self._life_s(kind, one.life_mean_s),
                )
                for kind, one in self._sold.items()
            )
        return self._offers

    def estimates(self) -> Estimates:
        if self._estimates is None:
            self._estimates = Estimates(
                service=dict(self._service.estimates),
                boot=dict(self._boot.estimates),
                load=dict(self._load.estimates),
            )
        return self._estimates

    def leased(self, terms: Terms, change: int) -> None:
        """One more is leased, or one less."""
        self._leased[_kind(terms)] += change
        self._offers = None

    def served(self, terms: Terms, seconds: float, *, lost: bool) -> None:
        """A machine is gone that was ready for so long; it was lost, or let go."""
        served = self._served.setdefault(_kind(terms), Served())
        served.seconds += seconds
        served.losses += lost
        self._offers = None

    def _life_s(self, kind: Kind, told_s: float | None) -> float | None:
        served = self._served.get(kind)
        return told_s if told_s is None or served is None else life(told_s, served.seconds, served.losses)

    def booted(self, terms: Terms, seconds: float) -> None:
        self._boot.add((terms.provider, terms.gpu_class), seconds)
        self._estimates = None

    def finished(self, run: Run, gpu_class: str) -> None:
        """What the worker reports with the result: how long it loaded, if it did, and how long it ran."""
        need = run.arrival.need
        key = (need.engine, need.model or "", gpu_class)
        self._service.add(key, run.service_s)
        if run.loads:
            self._load.add(key, run.load_s)
        self._estimates = None


def _kind(terms: Terms) -> Kind:
    return (terms.provider, terms.gpu_class, terms.usd_per_hour)


def _offer(terms: Terms, capabilities: tuple[Capability, ...], boot: Estimate, vram_gb: float) -> Offer:
    return Offer(
        provider=terms.provider,
        gpu_class=terms.gpu_class,
        usd_per_hour=terms.usd_per_hour,
        capabilities=capabilities,
        vram_gb=vram_gb,
        boot_billed=terms.boot_billed,
        granularity_s=terms.granularity_s,
        min_billed_s=terms.min_billed_s,
        lease_s_max=terms.lease_s_max,
        replace_after_s=terms.replace_after_s,
        life_mean_s=terms.loss_mean_s,
        boot_prior=boot,
        count_max=terms.count_max,
    )

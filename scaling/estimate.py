"""How long things take: history shrunk to a prior, fall-backs where there is none, and what is left of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import mul

from scaling.snapshot import Estimate, Estimates, Need

PRIOR_WEIGHT = 3.0
"""The prior counts as so many samples, so that one odd first job does not steer the fleet."""
POOL_SAMPLES = 20
"""Of each kind that is pooled, the latest so many, so that those which come often do not drown the others."""
SERVICE_PRIOR = Estimate(mean_s=30.0, p90_s=90.0, p99_s=300.0)
LOAD_PRIOR = Estimate(mean_s=15.0, p90_s=45.0, p99_s=120.0)
NOTHING_LOADS = Estimate(mean_s=0.0, p90_s=0.0)
BOOT_PRIOR = Estimate(mean_s=60.0, p90_s=180.0, p99_s=600.0)
LOSSES_PRIOR = 3.0
"""What is told of lives counts as so many losses."""
OVERRUN_SHARE = 0.1
"""What has overrun its mean is taken to need a tenth of its age more: long runs have long tails."""


def estimate(seconds: Sequence[float], prior: Estimate) -> Estimate:
    """Mean, p90 and p99 of `seconds` (any order), shrunk to the prior by its weight."""
    count = len(seconds)
    if not count:
        return prior
    ordered = sorted(seconds)
    weight = count + PRIOR_WEIGHT

    def shrunk(known_s: float, share: float) -> float:
        seen_s = ordered[math.ceil(share * count) - 1]
        return (PRIOR_WEIGHT * known_s + count * seen_s) / weight

    mean_s = (PRIOR_WEIGHT * prior.mean_s + math.fsum(seconds)) / weight
    p90_s = max(mean_s, shrunk(prior.p90_s, 0.9))
    p99_s = max(p90_s, shrunk(max(prior.p99_s, prior.p90_s), 0.99))
    return Estimate(mean_s=mean_s, p90_s=p90_s, samples=count, p99_s=p99_s)


def pool_estimate(kinds: Iterable[Sequence[float]], prior: Estimate) -> Estimate:
    """What a kind is likely like that little is known of: as others like it were, the latest of each first."""
    return estimate([one for seconds in kinds for one in seconds[:POOL_SAMPLES]], prior)


def life(prior_s: float, served_s: float, losses: int) -> float:
    """How long machines serve until they are taken away, in the mean, by those that served so long together and of
    which so many were: the mean of an exponential, shrunk to what is told of it.
    """
    return (LOSSES_PRIOR * prior_s + served_s) / (LOSSES_PRIOR + losses)


def remaining_s(whole: Estimate, elapsed_s: float, before_s: float = 0.0) -> float:
    """What is likely left of something that began `elapsed_s` ago with `before_s` of something else; never 0 while
    it goes on.
    """
    return max(before_s + whole.mean_s - elapsed_s, OVERRUN_SHARE * elapsed_s)


class Nearest:
    """Estimates of services or loads. What stands in for unknown models is the same for all, and made once."""

    def __init__(self, known: Mapping[tuple[str, str, str], Estimate]) -> None:
        self._known = known
        self._pools: dict[tuple[str, str], Estimate | None] = {}

    def of(self, engine: str, model: str | None, gpu_class: str) -> Estimate | None:
        exact = self._known.get((engine, model or "", gpu_class))
        if exact is not None:
            return exact
        key = (engine, gpu_class)
        if key not in self._pools:
            self._pools[key] = self._pool(engine, gpu_class)
        return self._pools[key]

    def _pool(self, engine: str, gpu_class: str) -> Estimate | None:
        same_engine = [(key, one) for key, one in self._known.items() if key[0] == engine]
        here = [one for key, one in same_engine if key[2] == gpu_class]
        return _pooled(here) or _pooled([one for _, one in same_engine])


def boot_estimate(estimates: Estimates, provider: str, gpu_class: str) -> Estimate:
    """This provider and class, else the provider's other classes, else the prior."""
    exact = estimates.boot.get((provider, gpu_class))
    if exact is not None:
        return exact
    return _pooled([one for key, one in estimates.boot.items() if key[0] == provider]) or BOOT_PRIOR


def _pooled(parts: Sequence[Estimate]) -> Estimate | None:
    """One estimate from several, each weighing what it was made from."""
    if not parts:
        return None
    weights = [one.samples + PRIOR_WEIGHT for one in parts]
    return Estimate(
        mean_s=_mean([one.mean_s for one in parts], weights),
        p90_s=_mean([one.p90_s for one in parts], weights),
        p99_s=_mean([max(one.p99_s, one.p90_s) for one in parts], weights),
        samples=sum([one.samples for one in parts]),
    )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Exactly rounded sums, so that the order of a dictionary changes nothing."""
    return math.fsum(map(mul, values, weights)) / math.fsum(weights)


class Times:
    """The estimates of one snapshot."""

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self._service = Nearest(estimates.service)
        self._load = Nearest(estimates.load)
        self._boot: dict[tuple[str, str], Estimate] = {}

    def service(self, need: Need, gpu_class: str) -> Estimate:
        return self.service_of(need.engine, need.model, gpu_class)

    def service_of(self, engine: str, model: str | None, gpu_class: str) -> Estimate:
        return self._service.of(engine, model, gpu_class) or SERVICE_PRIOR

    def load(self, need: Need, gpu_class: str) -> Estimate:
        return self.load_of(need.engine, need.model, gpu_class)

    def load_of(self, engine: str, model: str | None, gpu_class: str) -> Estimate:
        known = self._load.of(engine, model, gpu_class)
        if known is None:
            return NOTHING_LOADS if model is None else LOAD_PRIOR
        return known

    def boot(self, provider: str, gpu_class: str) -> Estimate:
        key = (provider, gpu_class)
        if key not in self._boot:
            self._boot[key] = boot_estimate(self._estimates, provider, gpu_class)
        return self._boot[key]

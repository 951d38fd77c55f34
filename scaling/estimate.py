"""How long things take: history shrunk to a prior, fall-backs where there is none, and what is left of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence

from scaling.snapshot import Estimate, Estimates, Need

PRIOR_WEIGHT = 3.0
"""The prior counts as so many samples, so that one odd first job does not steer the fleet."""
SERVICE_PRIOR = Estimate(mean_s=30.0, p90_s=90.0, p99_s=300.0)
LOAD_PRIOR = Estimate(mean_s=15.0, p90_s=45.0, p99_s=120.0)
NOTHING_LOADS = Estimate(mean_s=0.0, p90_s=0.0)
BOOT_PRIOR = Estimate(mean_s=60.0, p90_s=180.0, p99_s=600.0)
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


def remaining_s(whole: Estimate, elapsed_s: float, before_s: float = 0.0) -> float:
    """What is likely left of something that began `elapsed_s` ago with `before_s` of something else; never 0 while
    it goes on.
    """
    return max(before_s + whole.mean_s - elapsed_s, OVERRUN_SHARE * elapsed_s)


def service_estimate(estimates: Estimates, need: Need, gpu_class: str) -> Estimate:
    """The exact model on this class, else the engine on this class, else the engine anywhere, else the prior."""
    return _nearest(estimates.service, need, gpu_class) or SERVICE_PRIOR


def load_estimate(estimates: Estimates, need: Need, gpu_class: str) -> Estimate:
    """The same of loading its model; where nothing is known, a job that names none waits for none."""
    prior = NOTHING_LOADS if need.model is None else LOAD_PRIOR
    return _nearest(estimates.load, need, gpu_class) or prior


def _nearest(known: Mapping[tuple[str, str, str], Estimate], need: Need, gpu_class: str) -> Estimate | None:
    exact = known.get((need.engine, need.model or "", gpu_class))
    if exact is not None:
        return exact
    same_engine = [(key, one) for key, one in known.items() if key[0] == need.engine]
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
        mean_s=_mean((one.mean_s for one in parts), weights),
        p90_s=_mean((one.p90_s for one in parts), weights),
        p99_s=_mean((max(one.p99_s, one.p90_s) for one in parts), weights),
        samples=sum(one.samples for one in parts),
    )


def _mean(values: Iterable[float], weights: Sequence[float]) -> float:
    """Exactly rounded sums, so that the order of a dictionary changes nothing."""
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


class Times:
    """The estimates of one snapshot, each looked up once."""

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self._service: dict[tuple[str, str | None, str], Estimate] = {}
        self._load: dict[tuple[str, str | None, str], Estimate] = {}
        self._boot: dict[tuple[str, str], Estimate] = {}

    def service(self, need: Need, gpu_class: str) -> Estimate:
        key = (need.engine, need.model, gpu_class)
        if key not in self._service:
            self._service[key] = service_estimate(self._estimates, need, gpu_class)
        return self._service[key]

    def load(self, need: Need, gpu_class: str) -> Estimate:
        key = (need.engine, need.model, gpu_class)
        if key not in self._load:
            self._load[key] = load_estimate(self._estimates, need, gpu_class)
        return self._load[key]

    def boot(self, provider: str, gpu_class: str) -> Estimate:
        key = (provider, gpu_class)
        if key not in self._boot:
            self._boot[key] = boot_estimate(self._estimates, provider, gpu_class)
        return self._boot[key]

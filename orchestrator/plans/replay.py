"""A fleet's own past as a trace, and what is for sale now as a scenario."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from orchestrator.store.past import PastJob
from orchestrator.store.rows import BootTime
from scaling.estimate import BOOT_PRIOR
from scaling.simulate import Row, Scenario, Trace, make_trace
from scaling.simulate.report import percentile
from scaling.simulate.scenario import PHI_INV, Boot, GpuClass, Terms, Turns
from scaling.snapshot import Estimate, Offer

BOOTS_MIN = 5
"""With fewer, what the provider is known for says more."""
BOOT_S_MIN = 0.1
SERVICE_S_MIN = 0.001
NUDGE_S = 0.05
"""As between nudges and turns of the loop."""
NOT_MODELLED = (
    "Jobs that failed, were cancelled or are not done yet are left out.",
    "Each machine runs one job at a time, has one model in memory, and can run all of these jobs.",
    "What jobs ask of machines (GPU class, memory, provider, price), queues' and owners' limits are left out.",
    "Machines of owners are left out; no launch fails, and machines are lost as often as their tier is known for.",
    "A policy that learns begins without what it has learned.",
)


def trace_of(jobs: Sequence[PastJob], speeds: Mapping[str, float]) -> Trace:
    """Services as on a class of speed 1. The first job comes at 0."""
    began = jobs[0].created_at
    return make_trace([_row(one, began, speeds) for one in jobs])


def _row(job: PastJob, began: float, speeds: Mapping[str, float]) -> Row:
    service_s = job.service_s / speeds.get(job.gpu_class, 1.0)
    return Row(
        t_s=job.created_at - began,
        service_s=max(SERVICE_S_MIN, service_s),
        model=job.need.model or "",
        engine=job.need.engine,
        priority=job.need.priority,
        start_within_s=math.inf if job.start_by is None else job.start_by - job.created_at,
        complete_in_s=job.complete_by - job.created_at,
        low_priority=job.need.low_priority,
    )


def speeds_of(jobs: Iterable[PastJob]) -> dict[str, float]:
    """How long each GPU class takes for what others take 1 for, by the engines and models that it shared with them."""
    by_work: dict[tuple[str, str | None], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in jobs:
        by_work[one.need.engine, one.need.model][one.gpu_class].append(one.service_s)
    ratios: dict[str, list[float]] = defaultdict(list)
    for classes in by_work.values():
        means = {name: fmean(seconds) for name, seconds in classes.items()}
        usual_s = fmean(means.values())
        for name, mean_s in means.items():
            if usual_s > 0 and mean_s > 0:
                ratios[name].append(mean_s / usual_s)
    return {name: fmean(shares) for name, shares in ratios.items()}


def scenario_of(
    offers: Sequence[Offer], jobs: Sequence[PastJob], boots: Iterable[BootTime], period_s: float
) -> Scenario:
    """The offers that could run some of these jobs; no launch fails there, and loads take what they took."""
    seen = {(one.provider, one.gpu_class): one.seconds for one in boots}
    engines = {one.need.engine for one in jobs}
    fitting = {
        (one.provider, one.gpu_class, one.usd_per_hour): one for one in offers if _runs_any(one, engines)
    }
    loads_s = [one.load_s for one in jobs if one.load_s is not None]
    load_s, speeds = fmean(loads_s) if loads_s else 0.0, speeds_of(jobs)
    return Scenario(
        name="this fleet",
        offers=tuple(_terms(one, seen.get(kind[:2], ())) for kind, one in fitting.items()),
        gpu_classes={
            one.gpu_class: GpuClass(speeds.get(one.gpu_class, 1.0), load_s, one.vram_gb)
            for one in fitting.values()
        },
        loop=Turns(period_s=period_s, nudge_s=NUDGE_S),
    )


def _runs_any(offer: Offer, engines: set[str]) -> bool:
    return any(one.engine in engines for one in offer.capabilities)


def _terms(offer: Offer, boots_s: Sequence[float]) -> Terms:
    return Terms(
        provider=offer.provider,
        boot=boot_of(boots_s, offer.boot_prior or BOOT_PRIOR),
        gpu_class=offer.gpu_class,
        usd_per_hour=offer.usd_per_hour,
        fail_p=0.0,
        boot_billed=offer.boot_billed,
        granularity_s=offer.granularity_s,
        min_billed_s=offer.min_billed_s,
        lease_s_max=offer.lease_s_max,
        replace_after_s=offer.replace_after_s,
        loss_mean_s=offer.life_mean_s,
        count_max=offer.count_max,
    )


def boot_of(seconds: Sequence[float], prior: Estimate) -> Boot:
    """By the median and the 95th percentile of those seen, or of the lognormal with the prior's mean and p90."""
    if len(seconds) >= BOOTS_MIN:
        ordered = sorted(seconds)
        median_s, p95_s = percentile(ordered, 0.5), percentile(ordered, 0.95)
    else:
        rank, ratio = PHI_INV(0.9), max(1.0, prior.p90_s / prior.mean_s) if prior.mean_s > 0 else 1.0
        # p90 / mean is exp(rank sigma - sigma^2 / 2), which has a greatest value.
        sigma = rank - math.sqrt(max(0.0, rank**2 - 2 * math.log(ratio)))
        median_s = prior.mean_s * math.exp(-(sigma**2) / 2)
        p95_s = median_s * math.exp(sigma * PHI_INV(0.95))
    median_s = max(BOOT_S_MIN, median_s)
    return Boot(median_s, max(median_s, p95_s))

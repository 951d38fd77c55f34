"""What a plan saw, as JSON: workers by kind, groups of jobs, offers, estimates, budgets. Each list has a bound."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scaling.policy import Policy
from scaling.snapshot import Estimate, JobGroup, Need, Offer, Snapshot, WorkerView
from scaling.states import WorkerState

ROWS_MAX = 50
Json = dict[str, Any]
Kind = tuple[str, str, WorkerState]


def seen(snapshot: Snapshot, policy: Policy) -> Json:
    """Lists that are cut say with `…_left_out` how many rows there were more."""
    engines = {one.need.engine for one in snapshot.groups}
    engines |= {run.engine for worker in snapshot.workers for run in worker.running}
    oldest = sorted(snapshot.groups, key=lambda one: -one.oldest_age_s)
    return {
        **cut("workers", _workers(snapshot.workers)),
        **cut("jobs", [_group(one) for one in oldest]),
        **cut("offers", [_offer(one) for one in snapshot.offers]),
        "estimates": {
            **cut("service", _by_work(snapshot.estimates.service, engines)),
            **cut("load", _by_work(snapshot.estimates.load, engines)),
            **cut("boot", _by_offer(snapshot.estimates.boot)),
        },
        "budget": _budget(snapshot, policy),
        "began_since": len(snapshot.waits_s),
        "waited_s_max": brief(max(snapshot.waits_s, default=None)),
    }


def cut(name: str, rows: Sequence[Any]) -> Json:
    left = len(rows) - ROWS_MAX
    return {name: list(rows[:ROWS_MAX]), **({f"{name}_left_out": left} if left > 0 else {})}


def brief(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)


def of_need(need: Need) -> Json:
    """What tells groups of jobs apart, and nothing of whose they are."""
    return {
        "engine": need.engine,
        "model": need.model,
        "queue": need.queue,
        "priority": need.priority,
        "low_priority": need.low_priority,
    }


def _workers(workers: Iterable[WorkerView]) -> list[Json]:
    kinds: dict[Kind, list[WorkerView]] = defaultdict(list)
    for one in workers:
        kinds[one.provider, one.gpu_class, one.state].append(one)
    return [_alike(kind, kinds[kind]) for kind in sorted(kinds)]


def _alike(kind: Kind, workers: Sequence[WorkerView]) -> Json:
    provider, gpu_class, state = kind
    running = [run for one in workers for run in one.running]
    return {
        "provider": provider,
        "gpu_class": gpu_class,
        "state": state.value,
        "count": len(workers),
        "free_slots": sum(one.free_slots for one in workers),
        "running": len(running),
        "loading_first": sum(run.loads for run in running),
        "idle_s_max": brief(max((one.idle_s for one in workers if one.idle_s is not None), default=None)),
        "age_s_max": brief(max(one.state_age_s for one in workers)),
        "usd_per_hour": brief(sum(one.usd_per_hour for one in workers)),
    }


def _group(group: JobGroup) -> Json:
    ages_s = sorted(group.ages_s)
    return {
        **of_need(group.need),
        "count": group.count,
        "oldest_age_s": brief(group.oldest_age_s),
        "median_age_s": brief(ages_s[len(ages_s) // 2]) if ages_s else None,
        "slack_s": brief(group.slack_s),
        "wait_s": brief(group.need.wait_s),
        "avoids": len(group.need.avoid),
    }


def _offer(offer: Offer) -> Json:
    return {
        "provider": offer.provider,
        "gpu_class": offer.gpu_class,
        "usd_per_hour": offer.usd_per_hour,
        "count_max": offer.count_max,
        "cooled_s": brief(offer.cooled_s),
        "boot_billed": offer.boot_billed,
        "life_mean_s": brief(offer.life_mean_s),
    }


def _by_work(known: Mapping[tuple[str, str, str], Estimate], engines: set[str]) -> list[Json]:
    """Of the engines that are asked for or at work: others were not used."""
    return [
        {"engine": engine, "model": model or None, "gpu_class": gpu_class, **_estimate(one)}
        for (engine, model, gpu_class), one in sorted(known.items())
        if engine in engines
    ]


def _by_offer(known: Mapping[tuple[str, str], Estimate]) -> list[Json]:
    return [
        {"provider": provider, "gpu_class": gpu_class, **_estimate(one)}
        for (provider, gpu_class), one in sorted(known.items())
    ]


def _estimate(one: Estimate) -> Json:
    return {"mean_s": brief(one.mean_s), "p90_s": brief(one.p90_s), "samples": one.samples}


def _budget(snapshot: Snapshot, policy: Policy) -> Json:
    ours = [one for one in snapshot.workers if not one.owned and one.state is not WorkerState.GONE]
    return {
        "workers": len(ours),
        "workers_max": policy.limits.workers_max,
        "usd_per_hour": brief(sum(one.usd_per_hour for one in ours)),
        "usd_per_hour_max": policy.limits.usd_per_hour_max,
        "usd_today": round(snapshot.usd_today, 6),
        "usd_per_day_max": policy.usd_per_day_max,
    }

"""What no plan may do, said apart from how plans are made: the last look before anything is applied."""

import math
from collections import Counter

from scaling.health import dead
from scaling.limits import KINDS, Kind, bounds, has_room
from scaling.place import runnable
from scaling.plan import Action, Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.policy import Limits, Policy
from scaling.snapshot import JobGroup, Offer, Snapshot, WorkerView
from scaling.states import WorkerState

ROUNDING_USD = 1e-6
STOPPABLE = frozenset({WorkerState.CREATING, WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING})
LED_BY_JOBS = frozenset({"fixed"})
"""Policies whose every launch is for a job that waits. The others want machines for jobs to come, too."""


class PlanError(Exception):
    """A plan that must not be applied: a bug of ours. It names the action and the rule that it breaks."""


def check(snapshot: Snapshot, policy: Policy, plan: Plan) -> None:
    """Raises:
    PlanError: the plan breaks a rule.
    """
    workers = {one.id: one for one in snapshot.workers if one.state is not WorkerState.GONE}
    _check_targets(plan, workers)
    for action in plan.actions:
        if not action.reason:
            raise PlanError(f"{action}: no reason")
        match action:
            case Launch():
                _check_launch(action, snapshot)
            case Buy() | Withdraw():
                _check_intent(action, workers[action.worker_id])
            case Drain():
                if workers[action.worker_id].state is not WorkerState.READY:
                    raise PlanError(f"{action}: only a ready worker can be drained")
            case Stop():
                _check_stop(action, workers[action.worker_id], policy)
    for block in plan.blocked:
        if not block.code or not block.reason:
            raise PlanError(f"{block}: no code or reason")
    _check_demand(plan, snapshot, policy)
    _check_budgets(plan, snapshot, policy)


def _launches(plan: Plan) -> list[Launch]:
    return [one for one in plan.actions if isinstance(one, Launch)]


def _target(action: Action) -> str | None:
    return None if isinstance(action, Launch) else action.worker_id


def _check_targets(plan: Plan, workers: dict[str, WorkerView]) -> None:
    targets = [one for action in plan.actions if (one := _target(action)) is not None]
    if unknown := sorted(set(targets) - set(workers)):
        raise PlanError(f"acts on workers that are not there: {', '.join(unknown)}")
    if twice := sorted(one for one, count in Counter(targets).items() if count > 1):
        raise PlanError(f"two actions on one worker: {', '.join(twice)}")


def _check_intent(action: Buy | Withdraw, worker: WorkerView) -> None:
    if worker.state is not WorkerState.INTENDED:
        raise PlanError(f"{action}: the worker is {worker.state}, not an intent")
    if isinstance(action, Buy) and worker.buy_in_s > 0:
        raise PlanError(f"{action}: {worker.buy_in_s:.1f} s of its delay are left")


def _check_stop(action: Stop, worker: WorkerView, policy: Policy) -> None:
    if worker.state not in STOPPABLE:
        raise PlanError(f"{action}: a worker that is {worker.state} cannot be stopped")
    if not worker.busy or dead(worker, policy):
        return
    if worker.state is WorkerState.DRAINING and worker.state_age_s > policy.drain_s_max:
        return
    raise PlanError(f"{action}: it lives and runs something; drain it")


def _check_launch(action: Launch, snapshot: Snapshot) -> None:
    same = [one for one in snapshot.offers if _of(one, action)]
    if not same:
        raise PlanError(f"{action}: nobody offers that")
    offers = [one for one in same if one.usd_per_hour == action.usd_per_hour]
    if not offers:
        raise PlanError(f"{action}: the price is {same[0].usd_per_hour}")
    if all(one.cooled_s > 0 for one in offers):
        raise PlanError(f"{action}: the offer cools down")
    if not (action.delay_s >= 0 and math.isfinite(action.delay_s)):
        raise PlanError(f"{action}: impossible delay")


def _of(offer: Offer, action: Launch) -> bool:
    return (offer.provider, offer.gpu_class) == (action.provider, action.gpu_class)


def _check_demand(plan: Plan, snapshot: Snapshot, policy: Policy) -> None:
    """Each launch serves a job that may ask for machines, and there are no more launches than such jobs."""
    launches = _launches(plan) if policy.name in LED_BY_JOBS else []
    asking = [one for one in snapshot.groups if _asks(one, snapshot)]
    for action in launches:
        offers = [one for one in snapshot.offers if _of(one, action)]
        if not any(runnable(group.need, offer) for group in asking for offer in offers):
            raise PlanError(f"{action}: no waiting job may ask for it")
    if len(launches) > _begin_max(asking, snapshot):
        raise PlanError(f"{len(launches)} launches are more than there are jobs that ask for machines")


def _asks(group: JobGroup, snapshot: Snapshot) -> bool:
    """A job that a limit holds back could not use the machine."""
    may_begin = has_room(group.need, snapshot.limits, snapshot.running)
    return group.count > 0 and not group.need.low_priority and may_begin


def _begin_max(asking: list[JobGroup], snapshot: Snapshot) -> int:
    """At most how many of them may begin: by owner, by project and by queue, whichever is least."""
    room: dict[tuple[Kind, str], int] = {}
    waiting: dict[Kind, Counter[str | None]] = {kind: Counter() for kind in KINDS}
    for group in asking:
        found = {one.kind: one for one in bounds(group.need, snapshot.limits, snapshot.running)}
        room |= {(one.kind, one.name): one.left for one in found.values()}
        for kind in KINDS:
            waiting[kind][found[kind].name if kind in found else None] += group.count
    return min(
        sum(count if name is None else min(count, room[kind, name]) for name, count in names.items())
        for kind, names in waiting.items()
    )


def _check_budgets(plan: Plan, snapshot: Snapshot, policy: Policy) -> None:
    """Limits hold for what the plan adds; that limits came down below what runs is not the plan's fault."""
    launches = _launches(plan)
    if len(launches) > policy.launches_per_step_max:
        raise PlanError(f"{len(launches)} launches in one step")
    if launches and policy.usd_per_day_max is not None and snapshot.usd_today >= policy.usd_per_day_max:
        raise PlanError("launches although the day's budget is spent")
    _check_limits("in all", policy.limits, snapshot.workers, launches)
    for provider, limits in policy.provider_limits.items():
        theirs = tuple(one for one in snapshot.workers if one.provider == provider)
        _check_limits(provider, limits, theirs, [one for one in launches if one.provider == provider])
    _check_capacity(launches, snapshot)
    _check_bought(plan, snapshot, policy)


def _check_bought(plan: Plan, snapshot: Snapshot, policy: Policy) -> None:
    """Where the limits came down, the intents above them are not bought."""
    bought = {one.worker_id for one in plan.actions if isinstance(one, Buy)}
    leased = [
        one
        for one in snapshot.workers
        if one.id in bought or not (one.owned or one.state in (WorkerState.INTENDED, WorkerState.GONE))
    ]
    most = policy.limits.workers_max
    if bought and most is not None and len(leased) > most:
        raise PlanError(f"buys more than {most} workers in all")
    if bought and policy.usd_per_day_max is not None and snapshot.usd_today >= policy.usd_per_day_max:
        raise PlanError("buys although the day's budget is spent")


def _check_limits(
    scope: str, limits: Limits, workers: tuple[WorkerView, ...], launches: list[Launch]
) -> None:
    if not launches:
        return
    present = [one for one in workers if one.state is not WorkerState.GONE and not one.owned]
    if limits.workers_max is not None and len(present) + len(launches) > limits.workers_max:
        raise PlanError(f"more than {limits.workers_max} workers {scope}")
    prices = [*(one.usd_per_hour for one in present), *(one.usd_per_hour for one in launches)]
    usd = math.fsum(prices)
    if limits.usd_per_hour_max is not None and usd > limits.usd_per_hour_max + ROUNDING_USD:
        raise PlanError(f"{usd:.2f} USD/hour {scope} is more than {limits.usd_per_hour_max:.2f}")


def _check_capacity(launches: list[Launch], snapshot: Snapshot) -> None:
    unsold = (WorkerState.INTENDED, WorkerState.CREATING)
    ordered = Counter((one.provider, one.gpu_class) for one in snapshot.workers if one.state in unsold)
    asked = Counter((one.provider, one.gpu_class) for one in launches)
    for (provider, gpu_class), count in asked.items():
        offers = [one for one in snapshot.offers if (one.provider, one.gpu_class) == (provider, gpu_class)]
        if count + ordered[provider, gpu_class] > sum(one.count_max for one in offers):
            raise PlanError(f"{provider}/{gpu_class} has no {count} more machines")

"""One plan whole, as JSON: the policy, what was seen, what was decided and why, and what was left undone and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from orchestrator.plans.seen import Json, brief, cut, of_need, seen
from scaling.plan import Blocked, Hold, Launch, Plan
from scaling.policies import TOLD
from scaling.policy import Policy
from scaling.snapshot import Snapshot, WorkerView
from scaling.states import WorkerState

ORDERED = (WorkerState.INTENDED, WorkerState.CREATING, WorkerState.STARTING)


@dataclass(frozen=True, slots=True)
class PlanRecord:
    at: float
    policy: Policy
    snapshot: Snapshot
    plan: Plan


def explained(record: PlanRecord) -> Json:
    plan, policy = record.plan, record.policy
    return {
        "policy": {
            "name": policy.name,
            "aim": policy.aim,
            "target_p95_s": policy.target_p95_s,
            "knobs": dict(policy.knobs),
        },
        "seen": seen(record.snapshot, policy),
        **decided(plan),
        **cut("learned", _learned(record)),
        "not_done": list(_not_done(record.snapshot, plan)),
    }


def _learned(record: PlanRecord) -> list[str]:
    tell = TOLD.get(record.policy.name)
    return list(tell(record.plan.memory, record.snapshot.now_s)) if tell else []


def decided(plan: Plan) -> Json:
    return {
        **cut("actions", [{"kind": type(one).__name__.lower(), **asdict(one)} for one in plan.actions]),
        **cut("blocked", [_blocked(one) for one in plan.blocked]),
        **cut("holds", [_hold(one) for one in plan.holds]),
        "look_again_s": brief(plan.look_again_s),
        "patience_s": brief(plan.patience.wait_s if plan.patience else None),
        "load_s": brief(plan.patience.load_s if plan.patience else None),
    }


def _blocked(one: Blocked) -> Json:
    return {
        "code": one.code,
        "reason": one.reason,
        "count": one.count,
        "engine": one.need.engine if one.need else None,
        "model": one.need.model if one.need else None,
    }


def _hold(one: Hold) -> Json:
    return {**of_need(one.need), "count": one.count}


def _not_done(snapshot: Snapshot, plan: Plan) -> Iterable[str]:
    """In sentences: what a reader may have expected, and what stands against it in this picture."""
    ready = [one for one in snapshot.workers if one.state is WorkerState.READY]
    yield from _not_launched(snapshot, plan, ready)
    yield from (one.reason for one in plan.blocked)
    for one in plan.holds:
        name = f"{one.need.engine}/{one.need.model}" if one.need.model else one.need.engine
        yield f"{_jobs(one.count)} of {name} not given to cold machines: in time on those that have the model."
    ending = {one.worker_id for one in plan.actions if not isinstance(one, Launch)}
    idle = [one for one in ready if not one.busy and one.id not in ending]
    if idle:
        longest_s = max(one.idle_s or 0.0 for one in idle)
        machines = "1 idle machine" if len(idle) == 1 else f"{len(idle)} idle machines"
        yield f"{machines} kept, idle for {longest_s:.0f} s at most: the policy does not let them go yet."
    cooled = [one for one in snapshot.offers if one.cooled_s > 0]
    for offer in cooled[:3]:
        name = f"{offer.provider}/{offer.gpu_class}"
        yield f"{name} not asked: it refused a moment ago, and is asked again in {offer.cooled_s:.0f} s."


def _not_launched(snapshot: Snapshot, plan: Plan, ready: list[WorkerView]) -> Iterable[str]:
    waiting = sum(one.count for one in snapshot.groups)
    if any(isinstance(one, Launch) for one in plan.actions):
        return
    if not waiting:
        yield "Nothing launched: no job waits."
        return
    free = sum(one.free_slots for one in ready)
    busy = sum(len(one.running) for one in ready)
    ordered = sum(one.state in ORDERED for one in snapshot.workers)
    later = "" if plan.look_again_s is None else f"; it looks again in {plan.look_again_s:.1f} s"
    yield (
        f"Nothing launched though {_jobs(waiting)} waiting: {free} free and {busy} busy slots, {ordered} machines on "
        f"order, {sum(one.count for one in plan.blocked)} jobs blocked{later}."
    )


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"

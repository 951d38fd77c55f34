"""Which workers are supply, and which must end whatever the demand is.

Endings that we choose (idle, end of a lease) are drains: a worker that claims a job while the plan is made
finishes it. An idle draining worker is stopped by the next plan. Only what is dead or unhealthy is stopped at once.
"""

import math

from scaling.estimate import Times
from scaling.place import LEASE_MARGIN_S
from scaling.plan import Drain, Stop
from scaling.policy import Policy
from scaling.snapshot import Offer, WorkerView
from scaling.states import WorkerState

PROBE_FAILURES_MAX = 3
BOOT_P99_SHARE_MAX = 1.5
"""A boot that takes this much longer than nearly all before it is taken for failed."""
PAID_MARGIN_S = 60.0
"""An idle worker is kept while more than this of a paid billing interval is left."""


def dead(worker: WorkerView, policy: Policy) -> bool:
    """Not heard of for too long. Where no heartbeat comes from the machine itself, failed probes say so."""
    if worker.silent_s is not None and worker.silent_s > policy.silent_s_max:
        return True
    return (worker.hosted or worker.silent_s is None) and worker.probe_failures >= PROBE_FAILURES_MAX


def claims(worker: WorkerView, policy: Policy) -> bool:
    """Whether it asks for jobs. A worker that was busy could not claim, so its silence counts from its last finish."""
    if worker.claim_silent_s == 0.0:
        return True
    free_s = worker.spare_s
    silent_s = free_s if worker.claim_silent_s is None else min(worker.claim_silent_s, free_s)
    return silent_s <= policy.claim_silent_s_max


def boot_deadline_s(worker: WorkerView, policy: Policy, times: Times) -> float:
    """How long its boot may take, as boots of its provider and class have taken."""
    boot = times.boot(worker.provider, worker.gpu_class)
    return min(policy.boot_s_max, BOOT_P99_SHARE_MAX * max(boot.p99_s, boot.p90_s))


def must_end(worker: WorkerView, policy: Policy, times: Times) -> Stop | Drain | None:
    """What health alone asks for; intents, creations and stopping workers are others' to resolve."""
    state = worker.state
    if state is WorkerState.READY:
        return None if worker.owned else _end_ready(worker, policy)
    if state is WorkerState.STARTING and not worker.owned:
        return _end_starting(worker, boot_deadline_s(worker, policy, times))
    return _end_draining(worker, policy) if state is WorkerState.DRAINING else None


def _end_starting(worker: WorkerView, limit_s: float) -> Stop | None:
    if worker.state_age_s <= limit_s:
        return None
    return Stop(
        worker.id, f"not ready after {worker.state_age_s:.0f} s of booting, of {limit_s:.0f} s at most"
    )


def _end_ready(worker: WorkerView, policy: Policy) -> Stop | Drain | None:
    if dead(worker, policy):
        return Stop(worker.id, _silence(worker))
    if worker.probe_failures >= PROBE_FAILURES_MAX:
        reason = f"unhealthy: {worker.probe_failures} probes failed in a row"
        return Drain(worker.id, reason) if worker.busy else Stop(worker.id, reason)
    if not worker.busy and not worker.paused and not claims(worker, policy):
        return Stop(worker.id, f"unhealthy: claims no jobs for more than {policy.claim_silent_s_max:.0f} s")
    if worker.lease_left_s is not None and worker.lease_left_s < LEASE_MARGIN_S:
        return Drain(worker.id, f"its lease ends in {max(0.0, worker.lease_left_s):.0f} s")
    return None


def _end_draining(worker: WorkerView, policy: Policy) -> Stop | None:
    if dead(worker, policy):
        return Stop(worker.id, _silence(worker))
    if not worker.busy:
        return Stop(worker.id, "drained: nothing runs on it")
    if worker.state_age_s > policy.drain_s_max:
        return Stop(worker.id, f"still not drained after {worker.state_age_s:.0f} s")
    return None


def _silence(worker: WorkerView) -> str:
    if worker.silent_s is None or worker.probe_failures >= PROBE_FAILURES_MAX:
        return f"lost: {worker.probe_failures} probes failed in a row"
    return f"lost: no heartbeat for {worker.silent_s:.0f} s"


def idle_out(worker: WorkerView, policy: Policy, offer: Offer | None) -> Drain | None:
    """Drains a ready worker that nothing uses, counted from its last finish.

    A worker that never had a job has its grace. An owner's machine is its owner's to end; a paused worker that we
    pay for idles out like any other. What is paid already is used up first. An old lease is not kept waiting.
    """
    if not may_go(worker):
        return None
    idle_s = worker.spare_s
    if offer is not None and offer.replace_after_s is not None and worker.lease_age_s > offer.replace_after_s:
        return Drain(worker.id, f"its lease is {worker.lease_age_s:.0f} s old; the next job gets a fresh one")
    limit_s = policy.idle_s_usual if worker.jobs_done else max(policy.idle_s_usual, policy.grace_s)
    if idle_s <= limit_s or paid_left_s(worker, offer) > PAID_MARGIN_S:
        return None
    return Drain(worker.id, f"idle for {idle_s:.0f} s, more than {limit_s:.0f} s")


def may_go(worker: WorkerView) -> bool:
    """Whether it is idle and ours to end."""
    if worker.state is not WorkerState.READY or worker.busy or worker.owned:
        return False
    return not worker.paused or worker.usd_per_hour > 0


def let_go(worker: WorkerView) -> Drain | Stop | None:
    """Ends a worker that the policy names as one too many; an order is called back."""
    if worker.state in (WorkerState.CREATING, WorkerState.STARTING) and not worker.owned:
        return Stop(worker.id, "on order, and no job needs it any more")
    return Drain(worker.id, "idle, and more workers than the policy asks for") if may_go(worker) else None


def paid_left_s(worker: WorkerView, offer: Offer | None) -> float:
    """What is left of the billing interval that the worker is in, by the terms of the offer it came from."""
    if offer is None or not worker.usd_per_hour:
        return 0.0
    return billed_s(offer, worker.lease_age_s) - worker.lease_age_s


def billed_s(offer: Offer, used_s: float) -> float:
    """Seconds that the provider bills for a lease of `used_s`."""
    step_s = max(offer.granularity_s, 1e-9)
    return math.ceil(max(used_s, offer.min_billed_s) / step_s - 1e-9) * step_s


def is_supply(worker: WorkerView, policy: Policy) -> bool:
    """Whether jobs may count on it: ready and claiming, or on order. Whoever must end is not asked here."""
    state = worker.state
    if state is WorkerState.READY:
        return not worker.paused and not (worker.owned and dead(worker, policy))
    if state is WorkerState.CREATING:
        return worker.state_age_s <= policy.create_s_max
    return state is WorkerState.INTENDED or state is WorkerState.STARTING

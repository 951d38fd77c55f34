"""Which workers are supply, and which must end whatever the demand is.

Endings that we choose (idle, end of a lease) are drains: a worker that claims a job while the plan is made
finishes it. An idle draining worker is stopped by the next plan. Only what is dead or unhealthy is stopped at once.
"""

import math

from scaling.plan import Drain, Stop
from scaling.policy import Policy
from scaling.snapshot import Offer, WorkerView
from scaling.states import WorkerState

PROBE_FAILURES_MAX = 3
LEASE_MARGIN_S = 60.0
"""With less than this left of a lease with a hard end, a worker takes no more jobs."""
PAID_MARGIN_S = 60.0
"""An idle worker is kept while more than this of a paid billing interval is left."""


def dead(worker: WorkerView, policy: Policy) -> bool:
    """Not heard of for too long. Where there are no heartbeats at all, failed probes say so."""
    if worker.silent_s is not None:
        return worker.silent_s > policy.silent_s_max
    return worker.probe_failures >= PROBE_FAILURES_MAX


def claims(worker: WorkerView, policy: Policy) -> bool:
    """Whether it asks for jobs. A worker that was busy could not claim, so its silence counts from its last finish."""
    if worker.claim_silent_s == 0.0:
        return True
    free_s = worker.state_age_s if worker.idle_s is None else worker.idle_s
    silent_s = free_s if worker.claim_silent_s is None else min(worker.claim_silent_s, free_s)
    return silent_s <= policy.claim_silent_s_max


def must_end(worker: WorkerView, policy: Policy) -> Stop | Drain | None:
    """What health alone asks for; intents, creations and stopping workers are others' to resolve."""
    match worker.state:
        case WorkerState.STARTING if worker.state_age_s > policy.boot_s_max:
            return Stop(worker.id, f"not ready after {worker.state_age_s:.0f} s of booting")
        case WorkerState.READY:
            return _end_ready(worker, policy)
        case WorkerState.DRAINING:
            return _end_draining(worker, policy)
        case _:
            return None


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
    if worker.silent_s is None:
        return f"lost: {worker.probe_failures} probes failed in a row"
    return f"lost: no heartbeat for {worker.silent_s:.0f} s"


def idle_out(worker: WorkerView, policy: Policy, offer: Offer | None) -> Drain | None:
    """Drains a ready worker that nothing uses, counted from its last finish.

    A worker that never had a job has its grace. A paused worker that costs nothing is its owner's to end; a
    paused one that we pay for idles out like any other. What is paid already is used up first.
    """
    if worker.state is not WorkerState.READY or worker.busy or (worker.paused and not worker.usd_per_hour):
        return None
    idle_s = worker.state_age_s if worker.idle_s is None else worker.idle_s
    limit_s = policy.idle_s if worker.jobs_done else max(policy.idle_s, policy.grace_s)
    if idle_s <= limit_s or paid_left_s(worker, offer) > PAID_MARGIN_S:
        return None
    return Drain(worker.id, f"idle for {idle_s:.0f} s, more than {limit_s:.0f} s")


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
    match worker.state:
        case WorkerState.INTENDED | WorkerState.STARTING:
            return True
        case WorkerState.CREATING:
            return worker.state_age_s <= policy.create_s_max
        case WorkerState.READY:
            return not worker.paused
        case _:
            return False

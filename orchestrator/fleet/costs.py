"""What leases and jobs cost, in USD. Only ended leases have a final price; the others cost until now."""

import math

from orchestrator.store.rows import Attempt, Lease, Worker


def lease_usd(lease: Lease, now: float) -> float:
    """Seconds paid times the price: those that the provider's records say, or else the time until now, rounded up to
    its granularity and minimum.
    """
    if lease.billed_s is not None:
        return lease.billed_s * lease.usd_per_hour / 3600
    used_s = max(0.0, (lease.ended_at if lease.ended_at is not None else now) - lease.started_at)
    paid_s = math.ceil(max(used_s, lease.min_billed_s) / lease.granularity_s - 1e-9) * lease.granularity_s
    return paid_s * lease.usd_per_hour / 3600


def usd_between(lease: Lease, start: float, now: float) -> float:
    """The part of a lease's cost that falls after `start`, by time."""
    end = lease.ended_at if lease.ended_at is not None else now
    whole_s = max(1e-9, end - lease.started_at)
    share = min(1.0, max(0.0, end - max(start, lease.started_at)) / whole_s)
    return lease_usd(lease, now) * share


def attempt_usd(attempt: Attempt, worker: Worker, now: float) -> float:
    """What the slot cost while the attempt held it."""
    end = attempt.slot_freed_at or attempt.ended_at or now
    return max(0.0, end - attempt.started_at) * worker.usd_per_hour / 3600 / worker.capacity


def worker_lease(worker: Worker, busy_s: float = 0.0) -> Lease | None:
    """The lease of a worker's row; None while nothing is paid."""
    if worker.lease_from is None:
        return None
    return Lease(
        worker_id=worker.id,
        provider=worker.provider,
        gpu_class=worker.gpu_class,
        usd_per_hour=worker.usd_per_hour,
        started_at=worker.lease_from,
        ended_at=worker.lease_until,
        granularity_s=worker.granularity_s,
        min_billed_s=worker.min_billed_s,
        busy_s=busy_s,
    )

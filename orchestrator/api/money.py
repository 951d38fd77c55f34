"""/v1/costs and /v1/leases: what was leased, for how long, what it cost, and which jobs had it."""

from collections import defaultdict
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Operator, Shared
from orchestrator.api.views import moment
from orchestrator.fleet.costs import attempt_usd, lease_usd, usd_between
from orchestrator.observe import DAY_S
from orchestrator.store.rows import Lease

router = APIRouter(prefix="/v1", tags=["money"])
Hours = Annotated[float, Query(gt=0, le=24 * 366)]


@router.get("/costs")
async def costs(parts: Shared, _: Operator, hours: Hours = 24.0) -> dict[str, Any]:
    """What leases cost in the last hours, by provider and by lease. A running lease costs until now."""
    now = parts.clock.now()
    leases = await parts.store.list_leases(since=now - hours * 3600)
    totals: dict[str, float] = defaultdict(float)
    for lease in leases:
        totals[lease.provider] += usd_between(lease, now - hours * 3600, now)
    day = await parts.store.list_leases(since=now - DAY_S)
    return {
        "since": moment(now - hours * 3600).isoformat(),
        "usd_total": sum(totals.values()),
        "usd_today": sum(usd_between(lease, now - DAY_S, now) for lease in day),
        "by_provider": [{"provider": name, "usd": usd} for name, usd in sorted(totals.items())],
        "leases": [_lease(one, now) for one in leases],
    }


@router.get("/leases")
async def leases(parts: Shared, _: Operator, hours: Hours = 24.0) -> dict[str, Any]:
    """The ledger: every lease that had not ended so many hours ago, whole, oldest first."""
    now = parts.clock.now()
    found = await parts.store.list_leases(since=now - hours * 3600)
    return {
        "items": [_lease(one, now) for one in found],
        "usd_total": sum(lease_usd(one, now) for one in found),
    }


@router.get("/leases/{worker_id}")
async def lease(parts: Shared, worker_id: str, _: Operator) -> dict[str, Any]:
    """One lease with the share of every attempt that ran on it; the rest of it was boot and idling."""
    now = parts.clock.now()
    found = await parts.store.get_lease(worker_id)
    if found is None:
        raise ProblemError(404, "There is no such lease", f"No lease belongs to a worker {worker_id!r}.")
    worker = await parts.store.get_worker(worker_id)
    attempts = await parts.store.list_worker_attempts(worker_id) if worker else []
    shares = [
        {
            "job_id": one.job_id,
            "attempt": one.id,
            "state": one.state.value,
            "usd": attempt_usd(one, worker, now) if worker else 0.0,
        }
        for one in attempts
    ]
    return {**_lease(found, now), "jobs": shares}


def _lease(lease: Lease, now: float) -> dict[str, Any]:
    return {
        **asdict(lease),
        "started_at": moment(lease.started_at).isoformat(),
        "ended_at": moment(lease.ended_at).isoformat() if lease.ended_at else None,
        "usd": lease_usd(lease, now),
    }

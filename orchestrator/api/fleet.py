"""/v1/workers, /v1/engines, /v1/policy: what runs, and by which policy."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query

from gpulease.contract.engines import CATALOGUE, EngineSpec
from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import FleetAdmin, Operator, Shared, Viewer
from orchestrator.api.views import worker_view
from orchestrator.parts import Parts
from orchestrator.policy import PolicyBody
from orchestrator.store.people import By
from orchestrator.store.rows import Worker, WorkerMove
from scaling.snapshot import Capability
from scaling.states import WorkerState

W = WorkerState


router = APIRouter(prefix="/v1", tags=["fleet"])


@router.get("/workers")
async def workers(
    parts: Shared,
    _: Operator,
    include_gone: Annotated[bool, Query()] = False,  # noqa: FBT002  A query parameter.
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Newest first."""
    rows = await parts.store.list_workers(include_gone=include_gone, limit=limit)
    fleet = await parts.store.read_fleet()
    busy = Counter(attempt.worker_id for attempt, _job in fleet.attempts if attempt.slot_freed_at is None)
    now = parts.clock.now()
    return {"items": [worker_view(row, busy[row.id], now) for row in rows]}


@router.post("/workers/{worker_id}/drain")
async def drain(parts: Shared, worker_id: str, caller: Operator) -> dict[str, Any]:
    """It takes no more jobs, finishes what it runs, and is let go."""
    before = await _find(parts, worker_id)
    await parts.applier.drain(worker_id, "drained by an operator", caller.who)
    return await _audited(parts, "worker.drain", before, caller.by)


@router.post("/workers/{worker_id}/stop")
async def stop(parts: Shared, worker_id: str, caller: Operator) -> dict[str, Any]:
    """Ends its lease now; what it runs goes back to the queue."""
    before = await _find(parts, worker_id)
    withdraw = WorkerMove(W.GONE, (W.INTENDED,), caller.who, "stopped by an operator")
    if not await parts.store.move_worker(worker_id, withdraw, now=parts.clock.now()):
        await parts.applier.stop(worker_id, "stopped by an operator", caller.who)
    return await _audited(parts, "worker.stop", before, caller.by)


@router.post("/workers/{worker_id}/pause")
async def pause(parts: Shared, worker_id: str, caller: Operator) -> dict[str, Any]:
    """It keeps its lease and takes no jobs until it is resumed."""
    now = parts.clock.now()
    await parts.store.pause_worker(worker_id, paused=True, who=caller.who, now=now, by=caller.by)
    parts.dispatcher.release(worker_id)
    return await _acted(parts, worker_id)


@router.post("/workers/{worker_id}/resume")
async def resume(parts: Shared, worker_id: str, caller: Operator) -> dict[str, Any]:
    now = parts.clock.now()
    await parts.store.pause_worker(worker_id, paused=False, who=caller.who, now=now, by=caller.by)
    return await _acted(parts, worker_id)


async def _audited(parts: Parts, what: str, before: Worker, by: By) -> dict[str, Any]:
    """Notes what an operator did whose effect is a move of the worker, which other moves may be too."""
    after = await _find(parts, before.id)
    states = ({"state": before.state.value}, {"state": after.state.value})
    now = parts.clock.now()
    await parts.store.record_audit(what, before.id, by=by, now=now, before=states[0], after=states[1])
    return await _acted(parts, before.id)


async def _acted(parts: Parts, worker_id: str) -> dict[str, Any]:
    parts.loops.nudge("reconcile")
    return worker_view(await _find(parts, worker_id), 0, parts.clock.now())


async def _find(parts: Parts, worker_id: str) -> Worker:
    worker = await parts.store.get_worker(worker_id)
    if worker is None:
        raise ProblemError(404, "There is no such worker", f"No worker has the id {worker_id!r}.")
    return worker


@router.get("/engines")
async def engines(parts: Shared, _: Viewer) -> dict[str, Any]:
    """The catalogue, with the JSON Schema of each input, and what can run now or after a launch."""
    rows = await parts.store.list_workers(include_gone=False, limit=1000)
    running = [one for row in rows if row.state is W.READY for one in row.capabilities]
    offered = [one for offer in parts.market.offers() for one in offer.capabilities]
    return {"items": [_engine(spec, running, offered) for spec in CATALOGUE.values()]}


@router.get("/policy")
async def read_policy(parts: Shared, _: Operator) -> dict[str, Any]:
    return parts.policy.shown()


@router.put("/policy")
async def write_policy(parts: Shared, body: PolicyBody, caller: FleetAdmin) -> dict[str, Any]:
    """Replaces the policy; it holds from the next plan on, and survives a restart."""
    await parts.policy.put(body, caller.by)
    parts.loops.nudge("reconcile")
    return parts.policy.shown()


def _engine(spec: EngineSpec, running: list[Capability], offered: list[Capability]) -> dict[str, Any]:
    def of(capabilities: list[Capability], pick: Callable[[Capability], tuple[str, ...]]) -> list[str]:
        return sorted({word for one in capabilities if one.engine == spec.name for word in pick(one)})

    both = running + offered
    return {
        "name": spec.name,
        "title": spec.title,
        "result": spec.result,
        "available": any(one.engine == spec.name for one in both),
        "running_now": any(one.engine == spec.name for one in running),
        "backends": of(both, lambda one: (one.backend,)),
        "models": of(both, lambda one: one.models),
        "features": of(both, lambda one: one.features),
        "input_schema": spec.input_model.model_json_schema(),
    }

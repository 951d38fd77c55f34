"""/internal/workers: the agent protocol over HTTP."""

from fastapi import APIRouter, Response

from gpulease.contract import agent as wire
from orchestrator.api.auth import KnownWorker, Shared
from orchestrator.store.rows import Held

router = APIRouter(prefix="/internal/workers/{worker_id}", tags=["agents"])


@router.post("/register", response_model=wire.RegisterReply)
async def register(parts: Shared, said: wire.RegisterRequest, worker: KnownWorker) -> wire.RegisterReply:
    return await parts.agents.register(worker, said)


@router.post("/heartbeat", response_model=wire.HeartbeatReply)
async def heartbeat(parts: Shared, said: wire.HeartbeatRequest, worker: KnownWorker) -> wire.HeartbeatReply:
    return await parts.agents.heartbeat(worker, said)


@router.post("/claim", response_model=wire.ClaimReply)
async def claim(parts: Shared, said: wire.ClaimRequest, worker: KnownWorker) -> Response:
    """Written out here: this reply is what a waiting job waits for."""
    reply = await parts.agents.claim(worker, said)
    return Response(reply.model_dump_json(), media_type="application/json")


@router.post("/attempts/{attempt}/progress", response_model=wire.Ack)
async def progress(parts: Shared, attempt: int, said: wire.ProgressReport, worker: KnownWorker) -> wire.Ack:
    await parts.agents.progress(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()


@router.post("/attempts/{attempt}/logs", response_model=wire.Ack)
async def logs(parts: Shared, attempt: int, said: wire.LogChunk, worker: KnownWorker) -> wire.Ack:
    await parts.agents.log(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()


@router.post("/attempts/{attempt}/upload", response_model=wire.UploadGrant)
async def upload(
    parts: Shared, attempt: int, said: wire.UploadRequest, worker: KnownWorker
) -> wire.UploadGrant:
    return await parts.agents.grant(Held(attempt, worker.id, said.incarnation), said)


@router.post("/attempts/{attempt}/finish", response_model=wire.Ack)
async def finish(parts: Shared, attempt: int, said: wire.FinishReport, worker: KnownWorker) -> wire.Ack:
    await parts.agents.finish(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()

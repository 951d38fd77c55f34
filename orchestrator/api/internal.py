"""The agent protocol over HTTP, for workers and for the processes that host them."""

import asyncio

from fastapi import APIRouter, Request, Response

from gpulease.contract import agent as wire
from gpulease.contract.hosts import Duties
from orchestrator.api.auth import KnownWorker, Shared, unauthorized
from orchestrator.store.rows import Held

router = APIRouter(prefix="/internal", tags=["agents"])
WORKER = "/workers/{worker_id}"
BUFFER_WORKER = "/buffer/workers/{worker_id}"
"""Where workers of the first generation send their heartbeats."""


@router.get("/hosts/{provider}/duties")
async def duties(parts: Shared, request: Request, provider: str) -> Duties:
    """The workers that the host of this provider is to be an agent for."""
    if not parts.hosting.admits(provider, request.headers.get("x-internal-api-key", "")):
        raise unauthorized("Send the key of this provider's host as X-Internal-API-Key.")
    return await parts.hosting.duties(provider)


@router.post(WORKER + "/register", response_model=wire.RegisterReply)
async def register(parts: Shared, said: wire.RegisterRequest, worker: KnownWorker) -> wire.RegisterReply:
    return await parts.agents.register(worker, said)


@router.post(BUFFER_WORKER + "/heartbeat", response_model=wire.HeartbeatReply)
@router.post(WORKER + "/heartbeat", response_model=wire.HeartbeatReply)
async def heartbeat(parts: Shared, said: wire.HeartbeatRequest, worker: KnownWorker) -> wire.HeartbeatReply:
    return await parts.agents.heartbeat(worker, said)


@router.post(WORKER + "/claim", response_model=wire.ClaimReply)
async def claim(parts: Shared, request: Request, said: wire.ClaimRequest, worker: KnownWorker) -> Response:
    """Written out here: this reply is what a waiting job waits for. A caller that hangs up gets no job."""
    claiming = asyncio.ensure_future(parts.agents.claim(worker, said))
    hung_up = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({claiming, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        answered = claiming.done() and not claiming.cancelled()
        reply = claiming.result() if answered else wire.ClaimReply()
    finally:
        hung_up.cancel()
        claiming.cancel()
        await asyncio.gather(hung_up, claiming, return_exceptions=True)
    return Response(reply.model_dump_json(), media_type="application/json")


@router.post(WORKER + "/attempts/{attempt}/progress", response_model=wire.Ack)
async def progress(parts: Shared, attempt: int, said: wire.ProgressReport, worker: KnownWorker) -> wire.Ack:
    await parts.agents.progress(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()


@router.post(WORKER + "/attempts/{attempt}/logs", response_model=wire.Ack)
async def logs(parts: Shared, attempt: int, said: wire.LogChunk, worker: KnownWorker) -> wire.Ack:
    await parts.agents.log(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()


@router.post(WORKER + "/attempts/{attempt}/upload", response_model=wire.UploadGrant)
async def upload(
    parts: Shared, attempt: int, said: wire.UploadRequest, worker: KnownWorker
) -> wire.UploadGrant:
    return await parts.agents.grant(Held(attempt, worker.id, said.incarnation), said)


@router.post(WORKER + "/attempts/{attempt}/upload/complete", response_model=wire.Ack)
async def complete_upload(
    parts: Shared, attempt: int, said: wire.UploadComplete, worker: KnownWorker
) -> wire.Ack:
    await parts.agents.complete_upload(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()


@router.post(WORKER + "/attempts/{attempt}/finish", response_model=wire.Ack)
async def finish(parts: Shared, attempt: int, said: wire.FinishReport, worker: KnownWorker) -> wire.Ack:
    await parts.agents.finish(Held(attempt, worker.id, said.incarnation), said)
    return wire.Ack()

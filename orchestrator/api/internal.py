"""/internal/workers: the agent protocol over HTTP."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, Request

from gpulease.contract import agent as wire
from orchestrator.api.auth import worker_of
from orchestrator.parts import Parts
from orchestrator.store.rows import Held, Worker


def internal_router(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/internal/workers/{worker_id}", tags=["agents"])
    agents = parts.agents
    known = Depends(_known(parts))

    @router.post("/register", response_model=wire.RegisterReply)
    async def register(said: wire.RegisterRequest, worker: Worker = known) -> wire.RegisterReply:
        return await agents.register(worker, said)

    @router.post("/heartbeat", response_model=wire.HeartbeatReply)
    async def heartbeat(said: wire.HeartbeatRequest, worker: Worker = known) -> wire.HeartbeatReply:
        return await agents.heartbeat(worker, said)

    @router.post("/claim", response_model=wire.ClaimReply)
    async def claim(said: wire.ClaimRequest, worker: Worker = known) -> wire.ClaimReply:
        return await agents.claim(worker, said)

    @router.post("/attempts/{attempt}/progress", response_model=wire.Ack)
    async def progress(attempt: int, said: wire.ProgressReport, worker: Worker = known) -> wire.Ack:
        await agents.progress(Held(attempt, worker.id, said.incarnation), said)
        return wire.Ack()

    @router.post("/attempts/{attempt}/logs", response_model=wire.Ack)
    async def logs(attempt: int, said: wire.LogChunk, worker: Worker = known) -> wire.Ack:
        await agents.log(Held(attempt, worker.id, said.incarnation), said)
        return wire.Ack()

    @router.post("/attempts/{attempt}/upload", response_model=wire.UploadGrant)
    async def upload(attempt: int, said: wire.UploadRequest, worker: Worker = known) -> wire.UploadGrant:
        return await agents.grant(Held(attempt, worker.id, said.incarnation), said)

    @router.post("/attempts/{attempt}/finish", response_model=wire.Ack)
    async def finish(attempt: int, said: wire.FinishReport, worker: Worker = known) -> wire.Ack:
        await agents.finish(Held(attempt, worker.id, said.incarnation), said)
        return wire.Ack()

    return router


def _known(parts: Parts) -> Callable[[str, Request], Awaitable[Worker]]:
    async def known(worker_id: str, request: Request) -> Worker:
        return await worker_of(parts, worker_id, request)

    return known

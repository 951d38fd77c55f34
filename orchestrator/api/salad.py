"""/internal/salad/webhook: Salad tells that a queued job ended. Our job stays the truth: we only look sooner."""

from fastapi import APIRouter, Request

from gpulease.contract.agent import Ack
from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Shared, unauthorized
from orchestrator.parts import Parts
from provider_clients.errors import ProviderError
from provider_clients.salad import Salad
from provider_clients.salad.webhook import QueueNews, WebhookRefused, verify

BODY_BYTES_MAX = 12 * 1024 * 1024
"""Salad's own limit of a job's output is 10 MB."""
router = APIRouter(prefix="/internal/salad", tags=["agents"])


@router.post("/webhook")
async def webhook(parts: Shared, request: Request) -> Ack:
    client = parts.applier.leases.providers.get("salad")
    if not isinstance(client, Salad):
        raise ProblemError(404, "Salad is not configured", "Nothing here listens to its webhooks.")
    if int(request.headers.get("content-length") or 0) > BODY_BYTES_MAX:
        raise ProblemError(413, "This webhook is too large", f"{BODY_BYTES_MAX} bytes are the limit.")
    news = await _verified(parts, client, request)
    parts.hosting.tell("salad", news.job_id)
    return Ack()


async def _verified(parts: Parts, client: Salad, request: Request) -> QueueNews:
    """Signed with a secret that we know or, since ops may have rotated it just now, with the newest."""
    body = await request.body()
    secrets = client.webhook_secrets
    try:
        try:
            return verify(request.headers, body, await secrets.known(), parts.clock.now())
        except WebhookRefused:
            return verify(request.headers, body, await secrets.renewed(), parts.clock.now())
    except WebhookRefused as error:
        raise unauthorized(f"This webhook is not believed: {error}") from error
    except ProviderError as error:
        raise ProblemError(503, "Salad's secret cannot be read now", "Send it again later.") from error

"""News of queued jobs, as Salad sends them: Standard Webhooks, signed with the organisation's secret.

They are hints that something happened; the job itself is read from the API.
"""

import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from provider_clients.errors import OutcomeUnknown
from provider_clients.salad.queue import JobReply, QueueEvent, QueueStatus

TOLERANCE_S = 300.0
KIND = "queue.job."
SIGNATURES_MAX = 20


class WebhookRefused(Exception):
    """It is not from Salad, not fresh, or not about a queued job."""


@dataclass(frozen=True, slots=True)
class QueueNews:
    """`job_id` is Salad's. `queue` is None where the message does not name it."""

    job_id: str
    queue: str | None
    status: QueueStatus
    events: tuple[QueueEvent, ...] = ()


class Message(BaseModel):
    type: str
    data: JobReply


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> QueueNews:
    """What the message says, if it is signed with one of the secrets (both, while they are rotated).

    `now` in epoch seconds. The library makes the signature; the time is checked here, since it asks the system's
    clock. Source: standardwebhooks.com.

    Raises:
        WebhookRefused: for everything else.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        webhook_id, sent_at = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split()[:SIGNATURES_MAX]
        text = body.decode()
    except (KeyError, ValueError) as error:
        raise WebhookRefused("a header of a signed webhook is missing or unreadable") from error
    if not abs(now - sent_at) <= TOLERANCE_S:
        raise WebhookRefused("its time is more than 5 minutes away from ours")
    made = [_signature(secret, webhook_id, sent_at, text) for secret in secrets]
    if not any(hmac.compare_digest(ours.encode(), theirs.encode()) for ours in made for theirs in signatures):
        raise WebhookRefused("its signature is none of ours")
    return _news(text)


def _signature(secret: str, webhook_id: str, sent_at: int, text: str) -> str:
    """Raises WebhookRefused for a secret that is none: no message can be believed then."""
    try:
        return Webhook(secret).sign(webhook_id, datetime.fromtimestamp(sent_at, UTC), text)
    except (binascii.Error, ValueError, OverflowError, EmptyWebhookSecretError) as error:
        raise WebhookRefused("the secret for Salad's webhooks is no base64 text") from error


def _news(text: str) -> QueueNews:
    try:
        message = Message.model_validate_json(text)
        if not message.type.startswith(KIND):
            raise WebhookRefused(f"{message.type[:60]!r} is not about a queued job")
        job = message.data.job()
    except (ValidationError, OutcomeUnknown) as error:
        raise WebhookRefused("it is signed, but is no message about a job") from error
    return QueueNews(job.id, message.data.queue_name, job.status, job.events)

"""Webhooks as clients see them: deliveries, their tries, and the secret that signs them."""

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from gpulease.contract.base import Lenient, Wire

DeliveryStatus = Literal["pending", "arrived", "failed"]


class TryView(Lenient):
    """One send. `status` is the HTTP status, where there was an answer."""

    at: datetime
    status: int | None
    error: str | None


class DeliveryView(Lenient):
    """What is told of one job to one URL. `webhook_id` is the same in all its tries and replays."""

    id: int
    webhook_id: str
    job_id: str
    owner: str
    url: str
    state: DeliveryStatus
    tries: int = Field(description="Since it was made, or replayed last.")
    created_at: datetime
    next_try_at: datetime | None = Field(description="While it is pending.")
    ended_at: datetime | None
    last_error: str | None = Field(description="Why it did not arrive, or why it waits.")


class DeliveryDetail(DeliveryView):
    """With every try that is kept, oldest first, those before a replay too."""

    history: tuple[TryView, ...]


class DeliveryPage(Lenient):
    items: tuple[DeliveryView, ...]
    next_cursor: str | None = None


class ReplayRequest(Wire):
    """Which of those that were given up are to be sent again."""

    state: Literal["failed"] = "failed"
    since: AwareDatetime | None = Field(default=None, description="Only those made since then.")
    job_id: str | None = Field(default=None, max_length=100)
    owner: str | None = Field(
        default=None, max_length=100, description="For operators; by default everybody's."
    )


class ReplayReply(Lenient):
    count: int
    more: bool = Field(description="There are more of them: ask once more.")


class SecretView(Lenient):
    """`previous` signs too, until `previous_until`, so that receivers can change over."""

    secret: str
    rotated_at: datetime | None
    previous: str | None = None
    previous_until: datetime | None = None

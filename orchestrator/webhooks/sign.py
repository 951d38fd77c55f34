"""Signatures of webhooks, by the Standard Webhooks specification, with secrets that are derived and never stored."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from orchestrator.store.people import User

BOTH_S = 24 * 3600.0
"""So long after a rotation the secret before it signs too."""


def message_id(delivery_id: int) -> str:
    """The same in every try and in every replay, so that a receiver knows what it has already."""
    return f"msg_{delivery_id}"


def secret_of(deployment_secret: bytes, user_id: str, version: int) -> str:
    """`whsec_` and a key of 32 bytes in base64: one for each rotation of each user."""
    purpose = f"webhook:{version}:{user_id}".encode()
    key = hmac.new(deployment_secret, purpose, hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


def secrets_of(deployment_secret: bytes, user: User, now: float) -> tuple[str, ...]:
    """Those that sign now, the newest first."""
    newest = user.webhook_version
    versions = [newest]
    if user.webhook_rotated_at is not None and now < user.webhook_rotated_at + BOTH_S and newest > 1:
        versions.append(newest - 1)
    return tuple(secret_of(deployment_secret, user.id, version) for version in versions)


def signed_headers(name: str, body: bytes, secrets: Sequence[str], now: float) -> dict[str, str]:
    """The three headers. `body` is what is sent, byte by byte; the signatures stand apart by a space."""
    timestamp = str(int(now))
    content = f"{name}.{timestamp}.".encode() + body
    return {
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"

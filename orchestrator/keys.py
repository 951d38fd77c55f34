"""API keys and worker keys: made, hashed, checked. A secret is shown once and never stored."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Literal
from uuid import uuid4

from orchestrator.store.protocol import Store
from orchestrator.store.rows import ApiKey

Role = Literal["admin", "operator", "submitter", "viewer"]
ROLES: tuple[Role, ...] = ("admin", "operator", "submitter", "viewer")
"""Each may do what those after it may."""


def hash_key(secret: str) -> str:
    """SHA-256 in hex: enough for secrets of full entropy."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, key_hash: str) -> bool:
    return hmac.compare_digest(hash_key(secret), key_hash)


def worker_key(deployment_secret: bytes, worker_id: str) -> str:
    """The key of a worker, derived, so that an intent outlives a restart without a secret in the store."""
    return "gpw_" + hmac.new(deployment_secret, worker_id.encode(), hashlib.sha256).hexdigest()


def owner_key(deployment_secret: bytes, worker_id: str) -> str:
    """The key of an owner's machine, which enrols it: derived for another purpose than a leased worker's."""
    return "gpo_" + hmac.new(deployment_secret, b"owner:" + worker_id.encode(), hashlib.sha256).hexdigest()


def host_key(deployment_secret: bytes, provider: str) -> str:
    """The key of the process that hosts a provider's agents."""
    return "gph_" + hmac.new(deployment_secret, b"host:" + provider.encode(), hashlib.sha256).hexdigest()


async def create_key(store: Store, *, name: str, role: Role, now: float, secret: str | None = None) -> str:
    """Stores a new key and returns its secret, which cannot be had again."""
    secret = secret or f"gpl_{secrets.token_urlsafe(32)}"
    if await store.find_key(hash_key(secret)) is None:
        await store.add_key(
            ApiKey(id=str(uuid4()), name=name, role=role, hash=hash_key(secret), created_at=now)
        )
    return secret


def read_secret(path: Path) -> bytes:
    """The secret of this deployment, made at first use, readable by its owner only."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()

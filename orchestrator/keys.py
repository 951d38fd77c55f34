"""API keys and worker keys: made, hashed, checked. A secret is shown once and never stored."""

import hashlib
import hmac
import os
import re
import secrets
import string
from contextlib import suppress
from pathlib import Path
from typing import Literal

from orchestrator.settings import SettingsError

Role = Literal["admin", "operator", "submitter", "viewer"]
ROLES: tuple[Role, ...] = ("admin", "operator", "submitter", "viewer")
"""Each may do what those after it may."""


SCOPES = (
    "jobs:read",
    "jobs:write",
    "uploads:write",
    "fleet:read",
    "fleet:write",
    "people:read",
    "people:write",
)
"""What a key may be narrowed to. `people` is also one's own keys, webhooks and projects."""
PREFIX_LETTERS = 12
SECRET_BYTES = 32
_MADE_HERE = re.compile(r"gpl_[a-z0-9]{8}[A-Za-z0-9_-]{43}")


def as_role(name: str) -> Role:
    """The role of that name; ValueError where there is none."""
    for role in ROLES:
        if role == name:
            return role
    raise ValueError(name)


def weaker(one: Role, other: Role) -> Role:
    return max(one, other, key=ROLES.index)


def new_secret() -> str:
    """`gpl_`, 8 letters that are stored to find it by, and 256 bits that are not."""
    public = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    return f"gpl_{public}{secrets.token_urlsafe(32)}"


def made_here(secret: str) -> bool:
    """Whether it has the form of `new_secret`, and so cannot be guessed; otherwise somebody chose it."""
    return _MADE_HERE.fullmatch(secret) is not None


def prefix_of(secret: str) -> str:
    """By which a key is found: its public letters, or for a chosen secret, the begin of its hash."""
    return (secret if made_here(secret) else hash_key(secret))[:PREFIX_LETTERS]


def same(one: str, other: str) -> bool:
    """Compared in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def hash_key(secret: str) -> str:
    """SHA-256 in hex: enough for secrets of full entropy."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, key_hash: str) -> bool:
    return hmac.compare_digest(hash_key(secret), key_hash)


def session_key(deployment_secret: bytes) -> str:
    """Signs sessions. No worker can have an id with that first letter, and so that key."""
    return hmac.new(deployment_secret, b"\x00session", hashlib.sha256).hexdigest()


def worker_key(deployment_secret: bytes, worker_id: str) -> str:
    """The key of a worker, derived, so that an intent outlives a restart without a secret in the store."""
    return "gpw_" + hmac.new(deployment_secret, worker_id.encode(), hashlib.sha256).hexdigest()


def owner_key(deployment_secret: bytes, worker_id: str) -> str:
    """The key of an owner's machine, which enrols it: derived for another purpose than a leased worker's."""
    return "gpo_" + hmac.new(deployment_secret, b"owner:" + worker_id.encode(), hashlib.sha256).hexdigest()


def host_key(deployment_secret: bytes, provider: str) -> str:
    """The key of the process that hosts a provider's agents."""
    return "gph_" + hmac.new(deployment_secret, b"host:" + provider.encode(), hashlib.sha256).hexdigest()


def read_secret(path: Path) -> bytes:
    """The secret of this deployment, made at first use, readable by its owner only.

    It appears whole or not at all, however many ask first and wherever the machine stops.

    Raises:
        SettingsError: the file holds less than 32 bytes, and so no secret.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    if len(secret := path.read_bytes()) < SECRET_BYTES:
        raise SettingsError(
            f"{path} holds {len(secret)} bytes, which is no secret. Delete it: a new one is made."
        )
    return secret

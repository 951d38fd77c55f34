"""The rows of people and of what is theirs: users, keys, projects, uploads, assets, and the audit of changes.

Times are epoch seconds. A quota of None is no bound.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Right = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class By:
    """Whose doing a change is: who, with which key, from which address. It becomes an audit row with the change."""

    who: str
    key_id: str | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds on jobs that wait, jobs that run, and what they may cost in 24 hours."""

    queued_max: int | None = None
    running_max: int | None = None
    usd_per_day_max: float | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What users of a kind may have. Number 1 is everybody's who was given no other."""

    id: int
    name: str
    quota: Quota = Quota()
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class User:
    """`email` is in lower case, and None for those who are programs. The two versions count what was made invalid:
    sessions from before the last change of the password, and webhook secrets from before the last rotation.
    """

    id: str
    name: str
    role: str
    created_at: float
    email: str | None = None
    subscription_id: int = 1
    active: bool = True
    password_hash: str | None = None
    session_version: int = 1
    webhook_version: int = 1
    webhook_rotated_at: float | None = None


ANONYMOUS = User(id="", name="anonymous", role="admin", created_at=0.0)
"""Whoever calls on the loopback, while there are no keys."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`hash` is the SHA-256 of the secret, which was shown once and is not kept; `prefix` finds it.

    `scopes` narrows what the role allows; empty, it does not.
    """

    id: str
    owner: str
    name: str
    role: str
    prefix: str
    hash: str
    created_at: float
    scopes: tuple[str, ...] = ()
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """Jobs, uploads and assets that several users share, with a quota of its own. `data` is its client's."""

    id: str
    name: str
    owner: str
    created_at: float
    quota: Quota = Quota()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    project_id: str
    user_id: str
    right: Right


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody sent, or is sending: then `stored_at` is None, and `parts_id` names its parts."""

    id: str
    owner: str
    name: str
    key: str
    size_bytes: int
    sha256: str
    content_type: str
    created_at: float
    expires_at: float
    stored_at: float | None = None
    parts_id: str | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """A model in the library: a name within a project, or within its owner's own if `project_id` is None."""

    id: str
    name: str
    kind: str
    owner: str
    project_id: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class AssetVersion:
    """One file of an asset, counted from 1, with what was read from it: materials, cameras, objects."""

    asset_id: str
    number: int
    key: str
    size_bytes: int
    sha256: str
    created_at: float
    created_by: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audit:
    """One change: who made it, from where, what it was, and the object before and after. `id` orders them."""

    id: int
    at: float
    who: str
    key_id: str | None
    origin: str
    what: str
    target: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    who: str | None = None
    what: str | None = None
    target: str | None = None
    since: float | None = None
    until: float | None = None

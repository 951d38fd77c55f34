"""People and what is theirs, as clients see them: users, keys, projects, subscriptions, and the audit of changes."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, StringConstraints

from gpulease.contract.base import Lenient, Wire
from gpulease.contract.plain import PlainObject

DATA_BYTES_MAX = 64 * 1024


def check_small(value: dict[str, Any]) -> dict[str, Any]:
    """Returns it unchanged.

    Raises:
        ValueError: as JSON it is larger than 64 KiB.
    """
    size = len(json.dumps(value))
    if size > DATA_BYTES_MAX:
        raise ValueError(f"as JSON it has {size} bytes; at most {DATA_BYTES_MAX}")
    return value


Role = Literal["admin", "operator", "submitter", "viewer"]
Right = Literal["read", "write"]
Title = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]
"""A name that people read, on one line."""
_LETTERS = r'[^\s@,;<>"\x00-\x1f\x7f]+'
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, max_length=254, pattern=f"^{_LETTERS}@{_LETTERS}$"
    ),
]
Password = Annotated[SecretStr, Field(min_length=10, max_length=1000)]
Scope = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9:._-]{0,63}$")]
Data = Annotated[PlainObject, AfterValidator(check_small)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Number = Annotated[int, Field(ge=1, le=2**53)]


class QuotaView(Wire):
    """Bounds; null is none."""

    queued_max: Count | None = Field(default=None, description="Jobs that wait.")
    running_max: Count | None = Field(default=None, description="Jobs that run.")
    usd_per_day_max: float | None = Field(
        default=None, ge=0, le=1e9, allow_inf_nan=False, description="What they may cost in 24 hours."
    )


class SubscriptionRequest(Wire):
    name: Title
    quota: QuotaView = QuotaView()
    requests_per_s: float | None = Field(
        default=None, gt=0, le=1e6, allow_inf_nan=False, description="Null: the server's own limit."
    )


class SubscriptionView(Lenient):
    id: int
    name: str
    quota: QuotaView
    requests_per_s: float | None


class SubscriptionPage(Lenient):
    items: tuple[SubscriptionView, ...]
    next_cursor: str | None = None


class UserRequest(Wire):
    name: Title
    email: Email | None = Field(default=None, description="For those who log in; a program has none.")
    role: Role = "submitter"
    subscription: Number = Field(default=1, description="Its number at /v1/subscriptions.")
    password: Password | None = Field(default=None, description="For those who log in.")


class UserChange(Wire):
    """Only what is named changes."""

    name: Title | None = None
    email: Email | None = None
    role: Role | None = None
    subscription: Number | None = None
    active: bool | None = Field(default=None, description="Keys and logins of the inactive are refused.")


class UserView(Lenient):
    id: str
    name: str
    email: str | None
    role: Role
    subscription: int
    active: bool
    created_at: datetime


class UserPage(Lenient):
    items: tuple[UserView, ...]
    next_cursor: str | None = None


class MeView(UserView):
    """`acts_as` is what this key may do: the weaker of the user's role and its own; `scopes` narrow it further."""

    acts_as: Role
    scopes: tuple[str, ...]
    key_id: str | None


class MeChange(Wire):
    """A new password needs the old one, unless there was none yet, and ends all logins."""

    name: Title | None = None
    old_password: SecretStr | None = Field(default=None, max_length=1000)
    new_password: Password | None = None


class LoadView(Lenient):
    queued: int
    running: int


class LimitsView(Lenient):
    """What somebody may have, and what they have."""

    subscription: str
    quota: QuotaView
    requests_per_s: float | None
    load: LoadView
    usd_24h: float


class KeyRequest(Wire):
    """A key is no stronger than who makes it, in role, scopes and time."""

    name: Title
    role: Role | None = Field(default=None, description="Null: that of its user, or of who makes it.")
    scopes: tuple[Scope, ...] = Field(
        default=(), max_length=20, description="None named: all that the role may."
    )
    expires_at: AwareDatetime | None = None


class KeyView(Lenient):
    """`prefix` is how the secret begins."""

    id: str
    user: str
    name: str
    role: Role
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKeyView(KeyView):
    key: str = Field(description="The secret, shown this once.")


class KeyPage(Lenient):
    items: tuple[KeyView, ...]
    next_cursor: str | None = None


class ProjectRequest(Wire):
    name: Title
    data: Data = Field(default_factory=dict, description="Yours; we only keep it.")
    quota: QuotaView | None = Field(default=None, description="By admins only.")


class ProjectChange(Wire):
    """Only what is named changes."""

    name: Title | None = None
    data: Data | None = None
    quota: QuotaView | None = Field(default=None, description="By admins only.")


class ProjectView(Lenient):
    id: str
    name: str
    owner: str
    created_at: datetime
    quota: QuotaView
    data: dict[str, Any]


class ProjectPage(Lenient):
    items: tuple[ProjectView, ...]
    next_cursor: str | None = None


class MemberRequest(Wire):
    right: Right


class MemberView(Lenient):
    user: str
    name: str
    right: Right


class MemberPage(Lenient):
    items: tuple[MemberView, ...]
    next_cursor: str | None = None


class AuditView(Lenient):
    """One change; ids rise with time."""

    id: int
    at: datetime
    who: str
    key_id: str | None
    origin: str
    what: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(Lenient):
    items: tuple[AuditView, ...]
    next_cursor: str | None = None

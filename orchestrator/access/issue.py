"""API keys made, rotated and revoked: for the API, for the command line, and for the settings that name one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.keys import ROLES, SCOPES, Role, as_role, hash_key, matches, new_secret, prefix_of
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import ApiKey, By, User
from orchestrator.store.protocol import Store

GRACE_S = 86_400.0
"""So long an old secret goes on working beside the one that replaced it."""
CHOSEN_LETTERS_MIN = 16


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key may do. No role: the user's. No scopes: all that the role allows. A `secret` was chosen by somebody,
    such as a token of another system; without one it is made here.
    """

    name: str
    role: Role | None = None
    scopes: tuple[str, ...] = ()
    expires_at: float | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """The secret is had here and never again."""

    key: ApiKey
    secret: str


async def create_key(store: Store, user: User, new: NewKey, *, by: By | None, now: float) -> Issued:
    """A new key of that user.

    Raises:
        ProblemError: 422, naming the field; 409 where somebody has that secret.
    """
    check_new(user, new, now)
    secret = new.secret or new_secret()
    key = ApiKey(
        id=str(uuid4()),
        owner=user.id,
        name=new.name,
        role=new.role or as_role(user.role),
        prefix=prefix_of(secret),
        hash=hash_key(secret),
        created_at=now,
        scopes=new.scopes,
        expires_at=new.expires_at,
    )
    try:
        await store.add_key(key, by=by)
    except Duplicate:
        raise _conflict("This secret is a key already", "Choose another, or let one be made.") from None
    return Issued(key, secret)


def check_grant(caller: Caller, new: NewKey) -> NewKey:
    """What the caller asks for a new key, narrowed to what their own key allows: no key makes a stronger one.

    Raises:
        ProblemError: 403.
    """
    if new.role and not caller.at_least(new.role):
        raise _forbidden(f"Your role here is {caller.role!r}; ask for that one or a weaker.")
    if beyond := [scope for scope in new.scopes if not caller.may(scope)]:
        raise _forbidden(f"Your own key lacks {', '.join(beyond)}.")
    return NewKey(new.name, new.role or caller.role, new.scopes or caller.scopes, new.expires_at, new.secret)


async def rotate_key(
    store: Store, key: ApiKey, *, grace_s: float = GRACE_S, by: By | None, now: float
) -> Issued:
    """Another secret for what this key may do, under its name. The old one goes on for `grace_s`; 0: it ends now.

    Raises:
        ProblemError: 409 where the key has ended already.
    """
    if not usable(key, now):
        raise _conflict("This key has ended", "It was revoked, or has expired: make a new one.")
    secret = new_secret()
    fresh = ApiKey(
        id=str(uuid4()),
        owner=key.owner,
        name=key.name,
        role=key.role,
        prefix=prefix_of(secret),
        hash=hash_key(secret),
        created_at=now,
        scopes=key.scopes,
        expires_at=key.expires_at,
    )
    await store.add_key(fresh, by=by)
    ends_at = min(now + grace_s, key.expires_at or now + grace_s)
    ending: Mapping[str, Any] = {"expires_at": ends_at} if grace_s > 0 else {"revoked_at": now}
    await store.change_key(key.id, ending, by=by, now=now)
    return Issued(fresh, secret)


async def revoke_key(store: Store, key: ApiKey, *, by: By | None, now: float) -> ApiKey:
    """From now on it is refused. One that was revoked before stays as it is."""
    if key.revoked_at is not None:
        return key
    return await store.change_key(key.id, {"revoked_at": now}, by=by, now=now) or key


async def find_key(store: Store, secret: str) -> ApiKey | None:
    """Whose secret this is, be it usable or not."""
    return next((key for key in await store.find_keys(prefix_of(secret)) if matches(secret, key.hash)), None)


def usable(key: ApiKey, now: float) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def check_new(user: User, new: NewKey, now: float) -> None:
    """Whether that user can have such a key.

    Raises:
        ProblemError: 422, naming all wrong fields.
    """
    faults = []
    if new.role and ROLES.index(new.role) < ROLES.index(as_role(user.role)):
        message = f"the user's own role is {user.role!r}; a key may have that one or a weaker"
        faults.append(FieldFault(field="role", message=message))
    if unknown := [scope for scope in new.scopes if scope not in SCOPES]:
        message = f"there is no {', '.join(unknown)}; there are {', '.join(SCOPES)}"
        faults.append(FieldFault(field="scopes", message=message))
    if new.expires_at is not None and new.expires_at <= now:
        faults.append(FieldFault(field="expires_at", message="it is in the past"))
    if new.secret is not None and len(new.secret) < CHOSEN_LETTERS_MIN:
        message = f"a chosen secret needs at least {CHOSEN_LETTERS_MIN} letters"
        faults.append(FieldFault(field="secret", message=message))
    if faults:
        raise invalid(faults)


def _conflict(title: str, detail: str) -> ProblemError:
    return ProblemError(409, title, detail, type="/problems/conflict")


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(403, "This key may not do that", detail, type="/problems/forbidden")

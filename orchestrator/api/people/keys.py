"""/v1/keys: one's own API keys, and for admins everybody's. A secret is shown once: when it is made."""

import math
from typing import Annotated

from fastapi import APIRouter, Query, Response

from gpulease.contract.people import KeyPage, KeyRequest, KeyView, NewKeyView
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.access.issue import (
    GRACE_S,
    Issued,
    NewKey,
    check_grant,
    create_key,
    revoke_key,
    rotate_key,
    usable,
)
from orchestrator.api.auth import Person, Shared, forbidden
from orchestrator.api.edge.cursors import Limit, cut_after, place_of
from orchestrator.api.people.users import find_user
from orchestrator.api.views import moment
from orchestrator.keys import as_role, weaker
from orchestrator.parts import Parts
from orchestrator.store.people import ApiKey, User

router = APIRouter(prefix="/v1/keys", tags=["people"])
KEYS_MAX = 100
Whose = Annotated[str | None, Query(description="A user's id, for admins; by default yourself.")]
Grace = Annotated[
    float, Query(ge=0, le=7 * GRACE_S, description="So many seconds the old secret goes on working.")
]


@router.get("")
async def list_keys(
    parts: Shared, caller: Person, user: Whose = None, cursor: str | None = None, limit: Limit = 100
) -> KeyPage:
    """By id, with those that were revoked, and without their secrets."""
    rows = await parts.store.list_keys((await _owner(parts, caller, user)).id)
    page, more = cut_after(rows, lambda one: one.id, place_of(cursor, str), limit)
    return KeyPage(items=tuple(key_view(one) for one in page), next_cursor=more)


@router.post("", status_code=201)
async def create(
    parts: Shared, body: KeyRequest, caller: Person, response: Response, user: Whose = None
) -> NewKeyView:
    """Makes a key, and shows its secret this once."""
    owner = await _owner(parts, caller, user)
    _check_can_be_first(caller, owner, body)
    await _check_room(parts, owner)
    role = body.role or weaker(caller.role, as_role(owner.role))
    expires_at = await _until(parts, caller, owner, body)
    new = check_grant(caller, NewKey(body.name, role, body.scopes, expires_at))
    return _shown_once(
        await create_key(parts.store, owner, new, by=caller.by, now=parts.clock.now()), response
    )


@router.post("/{key_id}/rotate", status_code=201)
async def rotate(
    parts: Shared, key_id: str, caller: Person, response: Response, grace_s: Grace = GRACE_S
) -> NewKeyView:
    """A new key for what this one may do. The old one goes on working for a day, or as long as `grace_s` says."""
    key = await _find(parts, caller, key_id)
    _check_not_stronger(caller, key)
    if key.owner == caller.owner and (key.expires_at or math.inf) > await _ends_at(parts, caller):
        raise forbidden("That key outlives yours.")
    issued = await rotate_key(parts.store, key, grace_s=grace_s, by=caller.by, now=parts.clock.now())
    return _shown_once(issued, response)


@router.delete("/{key_id}", status_code=204)
async def revoke(parts: Shared, key_id: str, caller: Person) -> None:
    """From now on it is refused. It stays listed."""
    key = await _find(parts, caller, key_id)
    _check_not_stronger(caller, key)
    await revoke_key(parts.store, key, by=caller.by, now=parts.clock.now())


async def _owner(parts: Parts, caller: Caller, user_id: str | None) -> User:
    """Whose keys are meant.

    Raises:
        ProblemError: 403 for others' by who is no admin, 404 for nobody's.
    """
    if user_id is None or user_id == caller.owner:
        return caller.user
    if not caller.at_least("admin"):
        raise forbidden("The keys of others are for admins.")
    return await find_user(parts, user_id)


async def _find(parts: Parts, caller: Caller, key_id: str) -> ApiKey:
    """Raises:
    ProblemError: 404 where they have no such key.
    """
    owner = None if caller.at_least("admin") else caller.owner
    for key in await parts.store.list_keys(owner):
        if key.id == key_id:
            return key
    raise ProblemError(
        404, "There is no such key", f"You have none with the id {key_id!r}.", type="/problems/not-found"
    )


def _check_can_be_first(caller: Caller, owner: User, body: KeyRequest) -> None:
    """Nobody in particular calls only while there are no keys; from the first one on it is needed."""
    if caller.user.id:
        return
    if not owner.id:
        message = "say whose key it is: POST /v1/users makes a user"
        raise invalid([FieldFault(field="user", message=message)])
    if owner.role != "admin" or body.role not in {None, "admin"} or body.scopes or body.expires_at:
        detail = (
            "From the first key on everybody needs one, and only an unbounded admin's can make the others."
        )
        raise ProblemError(409, "The first key must be an admin's", detail, type="/problems/first-key")


async def _check_room(parts: Parts, owner: User) -> None:
    now = parts.clock.now()
    if sum(usable(key, now) for key in await parts.store.list_keys(owner.id)) >= KEYS_MAX:
        detail = f"A user has at most {KEYS_MAX}; revoke what is not used."
        raise ProblemError(409, "There are too many keys", detail, type="/problems/conflict")


def _check_not_stronger(caller: Caller, key: ApiKey) -> None:
    """A leaked weak key must neither get at a strong one of the same user, nor end it."""
    if not caller.at_least(as_role(key.role)):
        raise forbidden(f"That key has the role {key.role!r}, and yours {caller.role!r}.")
    if caller.scopes and not (key.scopes and all(map(caller.may, key.scopes))):
        raise forbidden(f"That key may more than yours, which has {', '.join(caller.scopes)}.")


async def _until(parts: Parts, caller: Caller, owner: User, body: KeyRequest) -> float | None:
    """When the new key ends: one that a key makes for its own user does not outlive it."""
    asked = body.expires_at.timestamp() if body.expires_at else None
    if owner.id != caller.owner:
        return asked
    ends_at = await _ends_at(parts, caller)
    if asked is not None and asked > ends_at:
        raise forbidden(f"Your own key ends at {moment(ends_at).isoformat()}; this one would outlive it.")
    return asked or (ends_at if ends_at < math.inf else None)


async def _ends_at(parts: Parts, caller: Caller) -> float:
    """When the key that calls ends; never, for a login, which only a password gives."""
    if caller.key_id is None:
        return math.inf
    own = (key for key in await parts.store.list_keys(caller.owner) if key.id == caller.key_id)
    return next((key.expires_at or math.inf for key in own), math.inf)


def _shown_once(issued: Issued, response: Response) -> NewKeyView:
    response.headers["Cache-Control"] = "no-store"
    return NewKeyView(**key_view(issued.key).model_dump(), key=issued.secret)


def key_view(row: ApiKey) -> KeyView:
    return KeyView(
        id=row.id,
        user=row.owner,
        name=row.name,
        role=as_role(row.role),
        prefix=row.prefix,
        scopes=row.scopes,
        created_at=moment(row.created_at),
        expires_at=moment(row.expires_at),
        last_used_at=moment(row.last_used_at),
        revoked_at=moment(row.revoked_at),
    )

"""/v1/users: who may do what here. For admins."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gpulease.contract.people import UserChange, UserPage, UserRequest, UserView
from gpulease.contract.problems import ProblemError
from orchestrator.access.newcomers import Newcomer, add_newcomer
from orchestrator.api.auth import Admin, Shared
from orchestrator.api.edge.cursors import Limit, cut, place_of
from orchestrator.api.people.subscriptions import check_subscription
from orchestrator.api.views import moment
from orchestrator.keys import as_role
from orchestrator.parts import Parts
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import User

router = APIRouter(prefix="/v1/users", tags=["people"])
PAGE = 500


async def turn_of(request: Request) -> asyncio.Lock:
    """One at a time, so that two admins cannot demote each other."""
    state = request.app.state
    if not hasattr(state, "users_turn"):
        state.users_turn = asyncio.Lock()
    turn: asyncio.Lock = state.users_turn
    return turn


Turn = Annotated[asyncio.Lock, Depends(turn_of)]


@router.get("")
async def list_users(
    parts: Shared, _: Admin, email: str | None = None, cursor: str | None = None, limit: Limit = 100
) -> UserPage:
    """By id; with `email`, the one who has it."""
    if email is not None:
        user = await parts.store.find_user(email)
        return UserPage(items=(user_view(user),) if user else ())
    rows = await parts.store.list_users(after=place_of(cursor, str), limit=limit + 1)
    page, more = cut(rows, limit, lambda one: one.id)
    return UserPage(items=tuple(user_view(one) for one in page), next_cursor=more)


@router.post("", status_code=201)
async def create_user(parts: Shared, body: UserRequest, caller: Admin, response: Response) -> UserView:
    """Makes a user. POST /v1/keys?user=… then makes them a key; with a password they may also log in."""
    await check_subscription(parts, body.subscription)
    password = body.password.get_secret_value() if body.password else None
    newcomer = Newcomer(body.name, body.role, body.email, password, body.subscription)
    user = await add_newcomer(
        parts.store, parts.access.sessions.passwords, newcomer, by=caller.by, now=parts.clock.now()
    )
    response.headers["Location"] = f"/v1/users/{user.id}"
    return user_view(user)


@router.get("/{user_id}")
async def read_user(parts: Shared, user_id: str, _: Admin) -> UserView:
    return user_view(await find_user(parts, user_id))


@router.patch("/{user_id}")
async def change_user(parts: Shared, user_id: str, body: UserChange, caller: Admin, turn: Turn) -> UserView:
    """Holds from their next request on. The last active admin stays one: 409."""
    if body.subscription is not None:
        await check_subscription(parts, body.subscription)
    async with turn:
        user = await find_user(parts, user_id)
        await _check_an_admin_is_left(parts, user, body)
        changes = _changes(body)
        try:
            changed = await parts.store.change_user(user_id, changes, by=caller.by, now=parts.clock.now())
        except Duplicate:
            detail = f"There is a user with the email {body.email} already."
            raise ProblemError(409, "This email is taken", detail, type="/problems/conflict") from None
    await parts.quotas.refresh()
    return user_view(changed or user)


async def find_user(parts: Parts, user_id: str) -> User:
    """Raises:
    ProblemError: 404.
    """
    user = await parts.store.get_user(user_id)
    if user is None or not user.id:
        raise ProblemError(
            404, "There is no such user", f"No user has the id {user_id!r}.", type="/problems/not-found"
        )
    return user


def _changes(body: UserChange) -> dict[str, Any]:
    """What was named; only an email may be taken away."""
    named = body.model_dump(include=body.model_fields_set)
    changes = {name: value for name, value in named.items() if value is not None or name == "email"}
    if "subscription" in changes:
        changes["subscription_id"] = changes.pop("subscription")
    return changes


async def _check_an_admin_is_left(parts: Parts, user: User, body: UserChange) -> None:
    stays = body.role in {None, "admin"} and body.active is not False
    if stays or user.role != "admin" or not user.active or await _has_other_admin(parts, user):
        return
    detail = "Make somebody else an admin first, or nobody could administer this server."
    raise ProblemError(409, "This is the last active admin", detail, type="/problems/last-admin")


async def _has_other_admin(parts: Parts, user: User) -> bool:
    after: str | None = None
    while rows := await parts.store.list_users(after=after, limit=PAGE):
        if any(one.role == "admin" and one.active and one.id != user.id for one in rows):
            return True
        after = rows[-1].id
    return False


def user_view(row: User) -> UserView:
    return UserView(
        id=row.id,
        name=row.name,
        email=row.email,
        role=as_role(row.role),
        subscription=row.subscription_id,
        active=row.active,
        created_at=moment(row.created_at),
    )

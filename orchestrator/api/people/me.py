"""/v1/me: who calls, what they may have, and what they have."""

from fastapi import APIRouter

from gpulease.contract.people import LimitsView, LoadView, MeChange, MeView
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Person, Shared, forbidden
from orchestrator.api.people.subscriptions import find_subscription, quota_view
from orchestrator.api.people.users import user_view
from orchestrator.observe import DAY_S
from orchestrator.parts import Parts
from orchestrator.store.people import User

router = APIRouter(prefix="/v1/me", tags=["people"])


@router.get("")
async def me(caller: Person) -> MeView:
    """Your user, and what the key that you sent may do."""
    return _view(caller, caller.user)


@router.patch("")
async def change_me(parts: Shared, body: MeChange, caller: Person) -> MeView:
    """Your name, and the password with which you log in."""
    if not caller.user.id:
        detail = "Make yourself a user with POST /v1/users, and a key with POST /v1/keys?user=…"
        raise ProblemError(409, "Nobody in particular calls", detail, type="/problems/conflict")
    user = caller.user
    if body.new_password is not None:
        user = await _change_password(parts, caller, body)
    if body.name is not None:
        changes = {"name": body.name}
        user = await parts.store.change_user(user.id, changes, by=caller.by, now=parts.clock.now()) or user
    return _view(caller, user)


@router.get("/limits")
async def limits(parts: Shared, caller: Person) -> LimitsView:
    """What your subscription allows, what your jobs are at, and what they cost in the last 24 hours."""
    subscription = await find_subscription(parts, caller.user.subscription_id)
    now = parts.clock.now()
    load = await parts.store.load_of(owner=caller.owner)
    return LimitsView(
        subscription=subscription.name,
        quota=quota_view(subscription.quota),
        requests_per_s=subscription.requests_per_s or parts.settings.requests_per_s,
        load=LoadView(queued=load.queued, running=load.running),
        usd_24h=await parts.store.spent_by(since=now - DAY_S, now=now, owner=caller.owner),
    )


async def _change_password(parts: Parts, caller: Caller, body: MeChange) -> User:
    assert body.new_password is not None  # noqa: S101  Asked by the caller.
    sessions, new = parts.access.sessions, body.new_password.get_secret_value()
    if caller.user.password_hash is None:
        _check_acts_in_full(caller)
        return await sessions.set_password(caller.user, new, caller.by)
    if body.old_password is None:
        raise invalid([FieldFault(field="old_password", message="it is needed to change the password")])
    return await sessions.change_password(caller.user, body.old_password.get_secret_value(), new, caller.by)


def _check_acts_in_full(caller: Caller) -> None:
    """Or else a weak key could give itself a login, which may all that its user may."""
    if caller.role != caller.user.role or caller.scopes:
        raise forbidden("A first password is set with a key that may all that you may, or by an admin.")


def _view(caller: Caller, user: User) -> MeView:
    shown = user_view(user).model_dump()
    return MeView(**shown, acts_as=caller.role, scopes=caller.scopes, key_id=caller.key_id)

"""/auth: logins and registration, and who somebody is."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from gpulease.contract.problems import ProblemError
from orchestrator.access.sessions import Registration, Session, refused
from orchestrator.api.auth import Person, Shared, origin_of, secret_of
from orchestrator.compat.surface import refusing
from orchestrator.compat.tasks.bodies import Login, Register
from orchestrator.compat.tasks.words import REFUSALS, Answer, refuse
from orchestrator.store.people import User

router = APIRouter(tags=["task orchestration"], route_class=refusing(refuse), responses=REFUSALS)


class UserData(BaseModel):
    uid: str
    userId: str  # noqa: N815  The wire's.
    email: str | None
    nickname: str
    role: str


class SessionData(UserData):
    """`access_token` is the Bearer token for `expires_in` seconds; /auth/refreshToken takes either of the two."""

    access_token: str
    refresh_token: str
    expires_in: int


@router.post("/auth/login")
async def login(parts: Shared, request: Request, body: Login) -> Answer[SessionData]:
    """A session for an email and a password."""
    sessions = parts.access.sessions
    session = await sessions.login(body.name, body.password.get_secret_value(), origin_of(request))
    return Answer(data=_session(session))


@router.post("/auth/register")
async def register(parts: Shared, request: Request, body: Register) -> Answer[SessionData]:
    """A new user, who submits, and a session. Closed unless the server has a REGISTER_AUTH_CODE."""
    asked = Registration(
        code=body.authcode.get_secret_value(),
        email=body.email,
        password=body.password.get_secret_value(),
        name=body.nickname,
    )
    return Answer(data=_session(await parts.access.sessions.register(asked, origin_of(request))))


@router.get("/auth/refreshToken")
async def refresh(parts: Shared, request: Request) -> Answer[SessionData]:
    """New tokens for one that holds, sent as the Bearer token."""
    return await _refreshed(parts, request)


@router.post("/auth/refreshToken")
async def refresh_by_post(parts: Shared, request: Request) -> Answer[SessionData]:
    """The same."""
    return await _refreshed(parts, request)


@router.get("/auth/user/info")
async def who_am_i(caller: Person) -> Answer[UserData]:
    """Who calls."""
    return Answer(data=UserData(**_user(caller.user)))


@router.get("/api/get_user")
async def get_user(
    parts: Shared, caller: Person, uid: Annotated[str | None, Query(max_length=100)] = None
) -> Answer[UserData]:
    """Oneself; admins may ask for anybody."""
    if uid in (None, caller.owner):
        return Answer(data=UserData(**_user(caller.user)))
    user = await parts.store.get_user(str(uid)) if caller.at_least("admin") else None
    if user is None:
        raise ProblemError(404, "There is no such user", "Or you may not see them.")
    return Answer(data=UserData(**_user(user)))


async def _refreshed(parts: Shared, request: Request) -> Answer[SessionData]:
    token = secret_of(request)
    if token is None:
        raise refused("Send the refresh token as Authorization: Bearer TOKEN.")
    return Answer(data=_session(await parts.access.sessions.refresh(token, ("refresh", "access"))))


def _session(session: Session) -> SessionData:
    return SessionData(
        **_user(session.user),
        access_token=session.access,
        refresh_token=session.refresh,
        expires_in=session.expires_s,
    )


def _user(user: User) -> dict[str, str | None]:
    return {
        "uid": user.id,
        "userId": user.id,
        "email": user.email,
        "nickname": user.name,
        "role": user.role,
    }

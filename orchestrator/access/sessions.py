"""Logins: a password becomes a signed token for an hour, which can be refreshed for a week.

Tokens are JWTs (RFC 7519) with HS256, and nothing of them is stored: they end with the user's `session_version`.
"""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import jwt
from jwt.types import Options

from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.newcomers import EMAIL_LETTERS_MAX, Newcomer, add_newcomer
from orchestrator.access.passwords import Passwords, check_password
from orchestrator.access.throttle import Throttle
from orchestrator.clock import Clock
from orchestrator.keys import same
from orchestrator.settings import Settings
from orchestrator.store.people import By, User
from orchestrator.store.protocol import Store

Kind = Literal["access", "refresh"]
ALGORITHM = "HS256"
_OPTIONS: Options = {
    "require": ["sub", "ver", "typ", "iat", "exp", "until", "jti"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
}
"""The library would ask the wall clock; ours is asked below."""


@dataclass(frozen=True, slots=True)
class Session:
    """`access` is the Bearer token for `expires_s` seconds; `refresh` gives another one, without a password."""

    user: User
    access: str
    refresh: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Registration:
    code: str
    email: str
    password: str
    name: str = ""


class Sessions:
    """`key` signs the tokens: derived from the deployment's secret, for this purpose only."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, key: str) -> None:
        self.passwords = Passwords()
        self._store = store
        self._clock = clock
        self._settings = settings
        self._key = key
        self._throttle = Throttle(clock)

    async def login(self, email: str, password: str, origin: str) -> Session:
        """A session for who knows the password; unknown emails take the same time and get the same answer.

        Raises:
            ProblemError: 401, and 429 after too many failures.
        """
        email = email.strip().lower()[:EMAIL_LETTERS_MAX]
        await self._try_password(email, password, origin)
        user = await self._store.find_user(email)
        if user is None or not user.active:
            raise refused("This user is not active. Ask an admin.")
        return self._begin(user)

    async def register(self, asked: Registration, origin: str) -> Session:
        """A new submitter, logged in.

        Raises:
            ProblemError: 403 for a wrong code or where nobody may, 409 for a known email, 422, 429.
        """
        expected = self._settings.register_auth_code
        if not expected:
            raise _forbidden("Registration is closed", "An admin can make users, or set REGISTER_AUTH_CODE.")
        name = f"register from {origin}"
        self._begin_try(name)
        if not same(asked.code, expected.get_secret_value()):
            raise _forbidden("This is not the code", "Ask who runs this server for its registration code.")
        self._throttle.excuse(name)
        newcomer = Newcomer(asked.name, "submitter", asked.email, asked.password)
        by = By("anonymous", origin=origin)
        user = await add_newcomer(self._store, self.passwords, newcomer, by=by, now=self._clock.now())
        return self._begin(user)

    async def refresh(self, token: str, kinds: tuple[Kind, ...] = ("refresh",)) -> Session:
        """New tokens for one that holds, until as long after the login as it may be refreshed.

        Raises:
            ProblemError: 401.
        """
        claims = self._read(token)
        if claims is None or claims["typ"] not in kinds:
            raise refused("This is no refresh token of ours. Log in again.")
        return self._begin(await self._holder(claims), until=claims["until"])

    async def user_of(self, token: str) -> User | None:
        """Whose session it is; None where it was not signed by us.

        Raises:
            ProblemError: 401, where it was, and holds no more.
        """
        claims = self._read(token)
        if claims is None:
            return None
        if claims["typ"] != "access":
            raise refused("This is a refresh token: it gives a new session, and is none.")
        return await self._holder(claims)

    async def change_password(self, user: User, old: str, new: str, by: By) -> User:
        """Also ends all sessions of that user.

        Raises:
            ProblemError: 403 for a wrong old password, 422 for a new one that will not do, 429.
        """
        check_password(new, "new_password")
        name = f"user {user.id}"
        self._begin_try(name)
        if not await self.passwords.check(old, user.password_hash):
            raise _forbidden("This is not your password", "Send your present one as old_password.")
        self._throttle.clear(name)
        return await self.set_password(user, new, by)

    async def set_password(self, user: User, new: str, by: By | None) -> User:
        """Whatever it was before. Also ends all sessions of that user."""
        check_password(new, "new_password")
        changes = {
            "password_hash": await self.passwords.hash(new),
            "session_version": user.session_version + 1,
        }
        changed = await self._store.change_user(user.id, changes, by=by, now=self._clock.now())
        if changed is None:
            raise invalid([FieldFault(field="user", message="there is no such user")])
        return changed

    async def _try_password(self, email: str, password: str, origin: str) -> None:
        address, account = f"address {origin}", f"email {email}"
        self._begin_try(address, account)
        user = await self._store.find_user(email)
        if not await self.passwords.check(password, user.password_hash if user else None):
            by = By("anonymous", origin=origin)
            target = f"user:{user.id}" if user else f"email:{email}"
            await self._store.record_audit("login.refused", target, by=by, now=self._clock.now())
            raise refused("The email or the password is wrong.")
        self._throttle.clear(account)
        self._throttle.excuse(address)

    def _begin_try(self, *names: str) -> None:
        wait_s = self._throttle.begin(*names)
        if wait_s > 0:
            raise too_many(wait_s, "After several failures each further try has to wait.")

    def _begin(self, user: User, until: float | None = None) -> Session:
        now = self._clock.now()
        until = until or now + max(self._settings.session_refresh_s, self._settings.session_s)
        expires_at = min(now + self._settings.session_s, until)
        access = self._sign(user, "access", expires_at, until)
        return Session(user, access, self._sign(user, "refresh", until, until), int(expires_at - now))

    def _sign(self, user: User, kind: Kind, expires_at: float, until: float) -> str:
        claims = {
            "sub": user.id,
            "ver": user.session_version,
            "typ": kind,
            "iat": int(self._clock.now()),
            "exp": int(expires_at),
            "until": until,
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, self._key, ALGORITHM)

    def _read(self, token: str) -> dict[str, Any] | None:
        """Its claims, if we signed it."""
        try:
            return jwt.decode(token, self._key, [ALGORITHM], options=_OPTIONS)
        except jwt.InvalidTokenError:
            return None

    async def _holder(self, claims: dict[str, Any]) -> User:
        if self._clock.now() >= claims["exp"]:
            raise refused("This session has expired. Refresh it, or log in again.")
        user = await self._store.get_user(claims["sub"])
        if user is None or not user.active:
            raise refused("This user is not active any more.")
        if user.session_version != claims["ver"]:
            raise refused("This session was ended, as when the password changes. Log in again.")
        return user


def looks_signed(secret: str) -> bool:
    """Whether it has the form of a token; imported keys may have it too."""
    return secret.startswith("ey") and secret.count(".") == 2


def refused(detail: str) -> ProblemError:
    return ProblemError(401, "A key is needed", detail, type="/problems/unauthorized")


def too_many(wait_s: float, why: str) -> ProblemError:
    """429, with the whole seconds to wait, which also become its Retry-After."""
    seconds = max(1, -int(-wait_s // 1))
    detail = f"{why} Try again in {seconds} s."
    return ProblemError(
        429, "Too many requests", detail, type="/problems/too-many-requests", retry_after_s=seconds
    )


def _forbidden(title: str, detail: str) -> ProblemError:
    return ProblemError(403, title, detail, type="/problems/forbidden")

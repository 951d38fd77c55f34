"""From a request's headers to who calls. Nothing is remembered that a revocation must end."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from orchestrator.access.callers import Caller
from orchestrator.access.issue import find_key
from orchestrator.access.rates import Rates
from orchestrator.access.sessions import Sessions, looks_signed, refused, too_many
from orchestrator.access.throttle import Guesses
from orchestrator.clock import Clock
from orchestrator.keys import as_role, made_here, same, session_key, weaker
from orchestrator.settings import Settings
from orchestrator.store.people import ANONYMOUS, ApiKey, User
from orchestrator.store.protocol import Store

UNKNOWN = "This key is not known, or is not that user's."
GUESSING = "Several wrong keys came from this address."
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret, and for clients that send both, the email of the user whose key it should be."""

    secret: str
    email: str | None = None


@dataclass(slots=True)
class Access:
    """Who may come in. `loopback`: the server listens there only, and so needs no key before there is one."""

    store: Store
    clock: Clock
    sessions: Sessions
    rates: Rates
    loopback: bool
    pages: tuple[str, ...] = ()
    """Origins of pages that may call from a browser."""
    guesses: Guesses = field(init=False)
    _used: dict[str, float] = field(default_factory=dict)
    _had_keys: bool = False

    def __post_init__(self) -> None:
        self.guesses = Guesses(self.clock)

    async def identify(self, headers: Mapping[str, str], origin: str) -> Caller:
        """Who calls from the address `origin`; `headers` are by lower-case name.

        Raises:
            ProblemError: 401, or 429 for who guesses.
        """
        shown = shown_in(headers)
        if shown is None:
            return await self._anonymous(headers, origin)
        if shown.email is None and looks_signed(shown.secret):
            user = await self.sessions.user_of(shown.secret)
            if user is not None:
                return Caller(user, as_role(user.role), origin=origin)
        return await self._by_key(shown, origin)

    async def flush(self) -> None:
        """Writes when keys were last used, all at once."""
        used, self._used = self._used, {}
        if used:
            await self.store.touch_keys(used)

    async def _by_key(self, shown: Shown, origin: str) -> Caller:
        if not made_here(shown.secret) and (wait_s := self.guesses.wait_s(origin)):
            raise too_many(wait_s, GUESSING)
        key = await find_key(self.store, shown.secret)
        user = await self.store.get_user(key.owner) if key else None
        if key is None or user is None or not _is_theirs(shown, user):
            wait_s = self.guesses.wrong(origin)
            raise too_many(wait_s, GUESSING) if wait_s else refused(UNKNOWN)
        now = self.clock.now()
        if ended := why_ended(key, user, now):
            raise refused(ended)
        self.guesses.right(origin)
        self._used[key.id] = now
        return Caller(user, weaker(as_role(user.role), as_role(key.role)), key.id, key.scopes, origin)

    async def _anonymous(self, headers: Mapping[str, str], origin: str) -> Caller:
        if not self.loopback:
            raise refused("Send a key as Authorization: Bearer KEY.")
        if self._had_keys or await self.store.list_keys():
            self._had_keys = True
            raise refused("Send a key as Authorization: Bearer KEY. `gpulease keys create` makes one.")
        if not came_directly(headers, self.pages):
            raise refused(
                "Without a key only this machine's own programs and pages are served; this came through a proxy, "
                "from another site's page, or to another name than localhost. "
                "Make a key with `gpulease keys create`."
            )
        return Caller(ANONYMOUS, "admin", origin=origin)


def open_access(store: Store, clock: Clock, settings: Settings, deployment_secret: bytes) -> Access:
    sessions = Sessions(store, clock, settings, session_key(deployment_secret))
    rates = Rates(store, clock, settings.requests_per_s)
    return Access(store, clock, sessions, rates, settings.loopback, settings.cors_origins)


def shown_in(headers: Mapping[str, str]) -> Shown | None:
    """The first of: Authorization: Bearer, X-C3-RENDER-KEY, email with token."""
    bearer = headers.get("authorization", "")
    if bearer[:7].lower() == "bearer ":
        return Shown(bearer[7:].strip())
    if (secret := headers.get("x-c3-render-key")) is not None:
        return Shown(secret)
    if "token" in headers or "email" in headers:
        return Shown(headers.get("token", ""), headers.get("email", "").strip().lower())
    return None


def why_ended(key: ApiKey, user: User, now: float) -> str | None:
    """In words, for who has the true secret; None where it may be used."""
    if key.revoked_at is not None:
        return "This key was revoked."
    if key.expires_at is not None and now >= key.expires_at:
        return "This key has expired."
    return None if user.active else "This key's user is not active."


def came_directly(headers: Mapping[str, str], pages: Collection[str] = ()) -> bool:
    """From a program or page of this machine: no proxy between, no page of another site, no name that was pointed
    here by somebody's DNS.
    """
    page = headers.get("origin")
    fitting = page is None or page in pages or _is_loopback(page)
    return fitting and _is_loopback(f"//{headers.get('host', '')}") and not any(map(headers.get, _FORWARDED))


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_theirs(shown: Shown, user: User) -> bool:
    return shown.email is None or (user.email is not None and same(shown.email, user.email))

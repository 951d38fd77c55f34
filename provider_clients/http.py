"""HTTP as providers speak it: one client a provider, at a pace, with every fault turned into a `ProviderError`.

What only reads is repeated, what changes something is sent once. A reply is believed by its status *and* its kind:
the proxies in front of the providers send HTML pages under any status. No key is ever logged or shown.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)
from provider_clients.replies import understood

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
SECRET_HEADERS = re.compile("key|token|secret|authorization", re.IGNORECASE)
SECRET_LETTERS_MIN = 8
"""A shorter word in such a header is its scheme ("Bearer")."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`total_s` bounds one try, whatever dribbles in; no new try is made after that long."""

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 60.0
    tries: int = 3
    pause_s: float = 0.2
    reply_bytes: int = 32 * 1024 * 1024


LIMITS = Limits()


class Unsent(ProviderError):
    """No connection was made, so nothing was asked."""


@dataclass(slots=True)
class Pace:
    """A token bucket that lets no more than `per_minute` calls go in any minute, a sixth of them at once.

    Nobody waits longer than `wait_s_max`.
    """

    per_minute: float
    wait_s_max: float = 30.0
    clock: Callable[[], float] = time.monotonic
    _tokens: float = 0.0
    _at: float | None = None

    async def wait(self) -> None:
        """Raises: RateLimited: by ourselves; nothing was sent."""
        wait_s = self.reserve()
        if wait_s > self.wait_s_max:
            self._tokens += 1
            raise RateLimited(f"our own {self.per_minute:g} calls a minute are spoken for", wait_s)
        await asyncio.sleep(wait_s)

    def reserve(self) -> float:
        """Takes a token, if need be one that is still to come, and says in how many seconds it is there."""
        now = self.clock()
        burst = max(1.0, self.per_minute / 6)
        per_second = max(1.0, self.per_minute - burst) / 60
        grown = burst if self._at is None else self._tokens + (now - self._at) * per_second
        self._tokens, self._at = min(burst, grown) - 1, now
        return max(0.0, -self._tokens / per_second)


class ProviderHttp:
    """`headers` carry the key; they go to `base_url`, and to an address that `answers` is given: redirects are not
    followed.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        per_minute: float = 240,
        limits: Limits = LIMITS,
    ) -> None:
        given = {name: value.strip() for name, value in headers.items()}
        self._unfit = [name for name, value in given.items() if not (value.isascii() and value.isprintable())]
        self._secrets = _secrets(given)
        self._pace = Pace(per_minute)
        self._limits = limits
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={
                "User-Agent": "gpulease",
                "Accept": "application/json",
                **{name: value for name, value in given.items() if name not in self._unfit},
            },
            timeout=httpx.Timeout(limits.read_s, connect=limits.connect_s),
            trust_env=False,
            verify=_tls(),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def read(self, method: Method, path: str, *, json: Any = None) -> Any:
        """The decoded JSON (None for an empty body) of a call that changes nothing; trouble on the way is met by
        trying again.

        Raises:
            OutcomeUnknown: the provider gave no usable answer; what it would have said is not known.
            ProviderError: its answer was a refusal.
        """
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._limits.tries) | stop_after_delay(self._limits.total_s),
            wait=wait_exponential(self._limits.pause_s, max=2.0) + wait_random(0, self._limits.pause_s),
            retry=retry_if_exception_type((OutcomeUnknown, Unsent)),
            reraise=True,
        )
        try:
            return await tries(self._send, method, path, json, None)
        except Unsent as error:
            raise OutcomeUnknown(str(error)) from error

    async def write(self, method: Method, path: str, *, json: Any = None, kind: str | None = None) -> Any:
        """The decoded JSON (None for an empty body) of a call that changes something. Sent once.

        `kind` is the Content-Type where it is not plain JSON.

        Raises:
            NoCapacity: it could not be sent at all, so nothing happened.
            OutcomeUnknown: it was sent, and what became of it is not known.
            ProviderError: a clear refusal; nothing happened.
        """
        try:
            return await self._send(method, path, json, kind)
        except Unsent as error:
            raise NoCapacity(str(error)) from error

    async def answers(self, url: str, *, total_s: float) -> bool:
        """Whether a GET of this address, which gets the key too, is met by 200. One try, at no pace."""
        if self._unfit:
            return False
        try:
            async with asyncio.timeout(total_s), self._client.stream("GET", url) as reply:
                return reply.status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False

    async def _send(self, method: Method, path: str, json: Any, kind: str | None) -> Any:
        if self._unfit:
            raise BadCredentials(f"{', '.join(self._unfit)} holds letters that no header may carry")
        await self._pace.wait()
        try:
            request = self._client.build_request(
                method, path, json=json, headers={"Content-Type": kind} if kind else None
            )
        except httpx.InvalidURL as error:
            raise Rejected(f"{method} {path!r}: {error}") from error
        return understood(await self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {request.url.path}"
        try:
            async with asyncio.timeout(self._limits.total_s):
                reply = await self._client.send(request, stream=True)
                try:
                    body = await self._body(reply, what)
                finally:
                    await reply.aclose()
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
        ) as error:
            why = str(error) or type(error).__name__
            raise Unsent(f"{request.url.host or request.url} cannot be reached: {why}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise OutcomeUnknown(f"{what}: no answer ({type(error).__name__})") from error
        kept = {
            name: reply.headers[name] for name in ("content-type", "retry-after") if name in reply.headers
        }
        return httpx.Response(reply.status_code, headers=kept, content=body, request=request)

    async def _body(self, reply: httpx.Response, what: str) -> bytes:
        """All of it, up to a bound; a refusal that repeats our key does so no more."""
        body = bytearray()
        async for chunk in reply.aiter_bytes():
            body += chunk
            if len(body) > self._limits.reply_bytes:
                raise OutcomeUnknown(f"{what} answered more than {self._limits.reply_bytes} bytes")
        if not reply.is_success:
            for secret in self._secrets:
                body = body.replace(secret, b"***")
        return bytes(body)


@cache
def _tls() -> ssl.SSLContext:
    """Reading the authorities takes longer than most calls, and is the same for every client."""
    return httpx.create_ssl_context()


def _secrets(headers: Mapping[str, str]) -> tuple[bytes, ...]:
    words = (word for name, value in headers.items() if SECRET_HEADERS.search(name) for word in value.split())
    return tuple(word.encode() for word in words if len(word) >= SECRET_LETTERS_MIN)

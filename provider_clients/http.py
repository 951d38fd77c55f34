"""HTTP as providers speak it: one client a provider, at a pace, with every fault turned into a `ProviderError`.

What only reads is repeated, what changes something is sent once. A reply is believed by its status *and* its kind:
the proxies in front of the providers send HTML pages under any status. No header is ever logged or shown.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)

Method = Literal["GET", "POST", "PATCH", "DELETE"]
CONNECT_S_MAX = 10.0
READ_S_MAX = 30.0
TOTAL_S_MAX = 60.0
READ_TRIES = 3
SHOWN_LETTERS_MAX = 200
RETRY_AFTER_S_DEFAULT = 30.0


class Unsent(ProviderError):
    """No connection was made, so nothing was asked."""


@dataclass(slots=True)
class Pace:
    """A token bucket: `burst` calls at once, and `per_minute` in the long run."""

    per_minute: float
    burst: int = 10
    _tokens: float = 0.0
    _at: float | None = None

    async def wait(self) -> None:
        await asyncio.sleep(self._reserve())

    def _reserve(self) -> float:
        """Takes a token, if need be one that is still to come, and says when it is there."""
        now = time.monotonic()
        grown = self.burst if self._at is None else self._tokens + (now - self._at) * self.per_minute / 60
        self._tokens, self._at = min(self.burst, grown) - 1, now
        return max(0.0, -self._tokens * 60 / self.per_minute)


class ProviderHttp:
    """`headers` carry the key; they go to `base_url` and to nobody else: redirects are not followed."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], *, per_minute: float = 240, pace: Pace | None = None
    ) -> None:
        self._pace = pace or Pace(per_minute)
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": "gpulease", "Accept": "application/json", **headers},
            timeout=httpx.Timeout(READ_S_MAX, connect=CONNECT_S_MAX),
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def read(self, method: Method, path: str, *, json: Any = None) -> Any:
        """The decoded JSON of a call that changes nothing; trouble on the way is met by trying again.

        Raises:
            OutcomeUnknown: the provider gave no usable answer; what it would have said is not known.
            ProviderError: its answer was a refusal.
        """
        tries = AsyncRetrying(
            stop=stop_after_attempt(READ_TRIES),
            wait=wait_exponential_jitter(initial=0.2, max=2.0, jitter=0.2),
            retry=retry_if_exception_type((OutcomeUnknown, Unsent)),
            reraise=True,
        )

        async def once() -> Any:
            return await self._send(method, path, json, None)

        try:
            return await tries(once)
        except Unsent as error:
            raise OutcomeUnknown(str(error)) from error

    async def write(self, method: Method, path: str, *, json: Any = None, kind: str | None = None) -> Any:
        """The decoded JSON (None for an empty body) of a call that changes something. Sent once.

        Raises:
            NoCapacity: it could not be sent at all, so nothing happened.
            OutcomeUnknown: it was sent, and what became of it is not known.
            ProviderError: a clear refusal; nothing happened.
        """
        try:
            return await self._send(method, path, json, kind)
        except Unsent as error:
            raise NoCapacity(str(error)) from error

    async def _send(self, method: Method, path: str, json: Any, kind: str | None) -> Any:
        await self._pace.wait()
        headers = {"Content-Type": kind} if kind else None
        try:
            async with asyncio.timeout(TOTAL_S_MAX):
                reply = await self._client.request(method, path, json=json, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            host = self._client.base_url.host
            raise Unsent(f"{host} cannot be reached: {str(error) or type(error).__name__}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise OutcomeUnknown(f"{method} {path}: no answer ({type(error).__name__})") from error
        return understood(reply)


def understood(reply: httpx.Response) -> Any:
    """The JSON of a successful reply, or the error that it means to the caller."""
    what = f"{reply.request.method} {reply.request.url.path}"
    if reply.status_code == 429:
        raise RateLimited(f"{what}: too many requests", retry_after_s(reply))
    if is_page(reply):
        raise OutcomeUnknown(
            f"{what} answered {reply.status_code} with an HTML page, so a proxy in front of it is in trouble"
        )
    if reply.is_success:
        return _decoded(reply, what)
    said = f"{what} answered {reply.status_code}: {_message(reply)}"
    if reply.status_code in (401, 403):
        raise BadCredentials(said)
    if reply.status_code == 404:
        raise NotFound(said)
    if reply.status_code >= 500 or reply.status_code in (408, 425):
        raise OutcomeUnknown(said)
    raise Rejected(said, reply.status_code)


def is_page(reply: httpx.Response) -> bool:
    kind = reply.headers.get("content-type", "")
    return "html" in kind or reply.content[:200].lstrip()[:1] == b"<"


def retry_after_s(reply: httpx.Response) -> float:
    """What `Retry-After` asks for, in either of its forms, as seconds."""
    asked = reply.headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return RETRY_AFTER_S_DEFAULT


def _decoded(reply: httpx.Response, what: str) -> Any:
    if not reply.content:
        return None
    try:
        return reply.json()
    except ValueError as error:
        raise OutcomeUnknown(
            f"{what} answered {reply.status_code} with something that is not JSON"
        ) from error


def _message(reply: httpx.Response) -> str:
    """The provider's words: `message`, or the fields of a problem document, and which fields are at fault."""
    try:
        body = reply.json()
    except ValueError:
        return reply.text[:SHOWN_LETTERS_MAX]
    if not isinstance(body, dict):
        return str(body)[:SHOWN_LETTERS_MAX]
    words = body.get("message") or body.get("detail") or body.get("title") or body.get("type") or body
    faults = f" {body['errors']}" if body.get("errors") else ""
    return f"{words}{faults}"[:SHOWN_LETTERS_MAX]

"""What a provider's reply means to the caller: its JSON, or the error that says what to do next."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from provider_clients.errors import (
    BadCredentials,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)

SHOWN_LETTERS_MAX = 200
RETRY_AFTER_S_DEFAULT = 30.0
RETRY_AFTER_S_MAX = 3600.0


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
    if reply.status_code < 400:
        raise OutcomeUnknown(f"{what} answered {reply.status_code}, a redirect, which is not followed")
    raise _refusal(reply.status_code, f"{what} answered {reply.status_code}: {_words(reply)}")


def is_page(reply: httpx.Response) -> bool:
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or reply.content[:200].lstrip()[:1] == b"<"


def retry_after_s(reply: httpx.Response) -> float:
    """What `Retry-After` asks for, in either of its forms, as seconds within reason."""
    asked = reply.headers.get("retry-after", "")
    try:
        seconds = float(asked) if not asked.endswith("GMT") else _seconds_until(asked)
    except (ValueError, OverflowError):
        return RETRY_AFTER_S_DEFAULT
    return min(RETRY_AFTER_S_MAX, max(0.0, seconds))


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp() - time.time()


def _refusal(status: int, said: str) -> ProviderError:
    if status in (401, 403):
        return BadCredentials(said)
    if status == 404:
        return NotFound(said)
    if status >= 500 or status in (408, 425):
        return OutcomeUnknown(said)
    return Rejected(said, status)


def _decoded(reply: httpx.Response, what: str) -> Any:
    if not reply.content:
        return None
    try:
        return reply.json()
    except (ValueError, RecursionError) as error:
        raise OutcomeUnknown(
            f"{what} answered {reply.status_code} with something that is not JSON"
        ) from error


def _words(reply: httpx.Response) -> str:
    """The provider's own, on one line: `message`, or what a problem document says, and which fields are at fault."""
    try:
        body = reply.json()
    except (ValueError, RecursionError):
        body = reply.text
    if isinstance(body, dict):
        words = body.get("message") or body.get("detail") or body.get("title") or body.get("type") or body
        body = f"{words} {body['errors']}" if body.get("errors") else words
    return " ".join(str(body).split())[:SHOWN_LETTERS_MAX]

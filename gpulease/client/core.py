"""What the sync and the async client share: where the server is, requests, replies, and when to try again."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from gpulease import __version__
from gpulease.client.calls import Call
from gpulease.client.errors import ClientError, ServerFault, Unreachable, Wait, error_for

URL_DEFAULT = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 30.0
STREAM_SILENT_S_MAX = 60.0
"""A stream that says nothing for so long is opened again, where it was."""
TRIES_MAX = 4
RECONNECTS_MAX = 10
"""In a row, without one event between them: about half a minute, enough for a restart of the server."""
PASSING_STATUS = frozenset({500, 502, 504})

Reply = TypeVar("Reply")
_backoff = wait_random_exponential(multiplier=0.2, max=5)


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and the key for it. `key` never shows in a repr, and goes to this server only."""

    url: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def find(cls, url: str | None, key: str | None) -> "Server":
        """What is given, else GPULEASE_URL and GPULEASE_API_KEY, else this machine without a key.

        Raises:
            ValueError: the URL is not http(s) with a host.
        """
        url = (url or os.environ.get("GPULEASE_URL") or URL_DEFAULT).rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL of a server")
        return cls(url, key or os.environ.get("GPULEASE_API_KEY") or None)

    def options(self) -> dict[str, Any]:
        """What httpx makes its client from."""
        headers = {"User-Agent": f"gpulease/{__version__}", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return {"base_url": self.url, "headers": headers, "timeout": timeouts(15.0)}

    def unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(f"cannot reach {self.url}: {str(error) or type(error).__name__}")


def timeouts(read_s: float) -> httpx.Timeout:
    return httpx.Timeout(read_s, connect=CONNECT_TIMEOUT_S, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)


def request_for(http: httpx.Client | httpx.AsyncClient, call: Call[Any], files: Any = None) -> httpx.Request:
    return http.build_request(
        call.method,
        call.path,
        params=dict(call.params) or None,
        json=call.body,
        files=files,
        headers=dict(call.headers),
        timeout=timeouts(call.timeout_s),
    )


def read(call: Call[Reply], reply: httpx.Response) -> Reply:
    """The reply's value.

    Raises:
        ApiError: the server answered with a problem.
        Garbled: the reply is not what the contract says.
    """
    if not reply.is_success:
        raise error_for(reply)
    return call.parse(reply)


def passing(error: BaseException) -> bool:
    """Whether the same call may well go through a moment later."""
    if isinstance(error, ServerFault):
        return error.problem.status in PASSING_STATUS
    return isinstance(error, Unreachable | Wait)


def retrying(call: Call[Any]) -> dict[str, Any]:
    """The options of tenacity for this call: what may be repeated is, briefly; anything else is tried once."""
    return {
        "retry": retry_if_exception(lambda error: call.repeatable and passing(error)),
        "stop": stop_after_attempt(TRIES_MAX),
        "wait": pausing(_backoff),
        "reraise": True,
    }


def pausing(backoff: wait_random_exponential) -> Callable[[RetryCallState], float]:
    """As long as the server asks, else as `backoff` says, in seconds."""

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after_s = error.after_s if isinstance(error, Wait) else None
        return after_s if after_s is not None else backoff(state)

    return pause


@dataclass(slots=True)
class Reconnects:
    """Counts failures in a row, and says how long to wait before the next try."""

    failures: int = 0

    def ended_early(self) -> float:
        """Seconds to wait, after a stream that closed before its job had ended, as at a server's restart."""
        return self.failed(Unreachable("the stream of events keeps ending before its job does"))

    def failed(self, error: ClientError) -> float:
        """Seconds to wait.

        Raises:
            ClientError: the error itself, where trying again is no use or was tried enough.
        """
        self.failures += 1
        if not passing(error) or self.failures > RECONNECTS_MAX:
            raise error
        return float(min(0.2 * 2**self.failures, 5.0))

    def went_well(self) -> None:
        self.failures = 0

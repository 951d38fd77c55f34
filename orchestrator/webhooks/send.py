"""One try of a delivery: its job's row becomes a signed message, and what came of it one value."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

import httpx

from gpulease.guard import ForbiddenAddress, guarded_client
from orchestrator.clock import Clock
from orchestrator.storage.protocol import StorageUnavailable
from orchestrator.store.people import User
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Delivery, Job
from orchestrator.webhooks.payload import Signed, encode, payload_of
from orchestrator.webhooks.sign import message_id, secrets_of, signed_headers

TIMEOUT_S = 10.0
BODY_S_MAX = 1.0
BODY_BYTES_MAX = 4096
NO_CONTENT = 204
LOCATION_MAX = 300
"""Characters of a redirect's target that are kept: a receiver chooses how many it sends."""


class Answer(Enum):
    """What a try says of the receiver's host: it spoke, it did not, or it was not asked."""

    SPOKEN = "spoken"
    SILENT = "silent"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` None means that it arrived. With `counts` False nothing was tried: the fault is ours."""

    answer: Answer
    status: int | None = None
    error: str | None = None
    counts: bool = True


NOTHING_TO_TELL: Final = Outcome(Answer.NOT_ASKED, error="the job is not kept any more")


class Sender:
    """`signed` gives a result the URLs that clients may open, `secret` is what users' webhook secrets come from."""

    def __init__(
        self, store: Store, clock: Clock, signed: Signed, secret: bytes, allow_hosts: Collection[str] = ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._signed = signed
        self._secret = secret
        self._http = guarded_client(allow_hosts=allow_hosts, timeout_s=TIMEOUT_S, follow_redirects=False)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, delivery: Delivery) -> Outcome:
        """Tries it once. It takes a bounded time, and raises nothing that a receiver could cause."""
        job = await self._store.get_job(delivery.job_id)
        if job is None:
            return NOTHING_TO_TELL
        try:
            async with asyncio.timeout(TIMEOUT_S):
                body = await self._body(job)
        except (TimeoutError, StorageUnavailable) as error:
            reason = f"the storage gives no URL of the result: {str(error) or type(error).__name__}"
            return Outcome(Answer.NOT_ASKED, error=reason, counts=False)
        return await self._post(delivery.url, body, await self._headers(delivery, body))

    async def _body(self, job: Job) -> bytes:
        return encode(await payload_of(job, self._signed))

    async def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now = self._clock.now()
        user = await self._store.get_user(delivery.owner) or User(delivery.owner, "", "viewer", now)
        secrets = secrets_of(self._secret, user, now)
        signed = signed_headers(message_id(delivery.id), body, secrets, now)
        return {**signed, "content-type": "application/json"}

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Outcome:
        try:
            request = self._http.build_request("POST", url, content=body, headers=headers)
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._http.send(request, stream=True)
        except TimeoutError:
            return Outcome(Answer.SILENT, error=f"no reply within {TIMEOUT_S:.0f} s")
        except (ForbiddenAddress, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            return Outcome(Answer.NOT_ASKED, error=_named(error))
        except httpx.HTTPError as error:
            return Outcome(Answer.SILENT, error=_named(error))
        await _leave(reply)
        return _judged(reply)


async def _leave(reply: httpx.Response) -> None:
    """Reads a short body, so that the connection can be used again, and drops any other: it tells us nothing."""
    try:
        if _is_short(reply):
            with contextlib.suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(BODY_S_MAX):
                    async for _ in reply.aiter_raw():
                        pass
    finally:
        await reply.aclose()


def _is_short(reply: httpx.Response) -> bool:
    size = reply.headers.get("content-length", "0" if reply.status_code == NO_CONTENT else "")
    return size.isdecimal() and len(size) <= len(str(BODY_BYTES_MAX)) and int(size) <= BODY_BYTES_MAX


def _judged(reply: httpx.Response) -> Outcome:
    if reply.is_success:
        return Outcome(Answer.SPOKEN, reply.status_code)
    moved = f" to {reply.headers['location']}" if reply.has_redirect_location else ""
    error = f"HTTP {reply.status_code}{moved[:LOCATION_MAX]}: only a 2xx counts as received"
    return Outcome(Answer.SPOKEN, reply.status_code, error)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

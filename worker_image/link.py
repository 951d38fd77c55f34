"""The agent's side of the protocol (`gpulease.contract.agent`): typed calls to the orchestrator, outbound only.

LinkError
├── Unreachable   no answer, or one of a server in trouble: try again
├── Stale         409: what this is about has ended, or is another's; changes nothing
├── Refused       401, 403: the key is wrong; stop
├── Spent         410, or a storage that does not take a URL any more: ask for another
└── Rejected      any other refusal: repeating it helps nobody
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from gpulease.contract import agent as wire
from worker_image.engines.base import MadeFile

CALL_S_MAX = 15.0
CLAIM_MARGIN_S = 10.0
COMPLETE_S_MAX = 90.0
"""A storage may put the parts of a large file together before it answers."""
UPLOAD_SILENCE_S_MAX = 60.0
_CHUNK_BYTES = 256 * 1024
_TROUBLE_STATUS = (408, 425, 429)
_SPENT_STATUS = (403, 404, 410)

Reply = TypeVar("Reply", bound=BaseModel)
Value = TypeVar("Value")
DirectFor = Callable[[wire.UploadGrant], Callable[[MadeFile], Awaitable[None]] | None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, from `start` on. `md5` is in base64, as in a Content-MD5: the storage refuses a changed body."""

    path: Path
    start: int
    size_bytes: int
    md5: str


class LinkError(Exception):
    """A call that brought no reply of use."""


class Unreachable(LinkError):
    """No answer, or a server in trouble; the call may have taken effect."""


class Stale(LinkError):
    """What the call is about has ended, or belongs to another incarnation."""


class Refused(LinkError):
    """The key is not accepted."""


class Spent(LinkError):
    """The signed URL has expired, or what it belongs to is gone."""


class Rejected(LinkError):
    """The orchestrator does not take this call, now or later."""


class Link:
    """One worker's line to its orchestrator. `heard_at` is monotonic: when it last answered anything sensible.

    `clock_off_s` is how far this machine's clock was before the orchestrator's then, as far as its replies tell.
    `direct_for` says how the machine's owner, who may have keys of their own, stores what a grant is for.
    """

    def __init__(self, base_url: str, worker_id: str, key: str | None) -> None:
        self._known = (base_url, worker_id, key)
        self.direct_for: DirectFor = lambda _: None
        self._base = f"{base_url.rstrip('/')}/internal/workers/{worker_id}"
        headers = {"User-Agent": "gpulease-worker"} | ({"X-Internal-API-Key": key} if key else {})
        timeout = httpx.Timeout(CALL_S_MAX)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False)
        self._storage: httpx.AsyncClient | None = None
        self.heard_at = time.monotonic()
        self.clock_off_s = 0.0

    def twin(self) -> "Link":
        """Another line of the same worker, for another event loop."""
        return Link(*self._known)

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._storage is not None:
            await self._storage.aclose()

    async def register(self, said: wire.RegisterRequest) -> wire.RegisterReply:
        return await self._post("register", said, wire.RegisterReply)

    async def heartbeat(self, said: wire.HeartbeatRequest) -> wire.HeartbeatReply:
        return await self._post("heartbeat", said, wire.HeartbeatReply)

    async def claim(self, said: wire.ClaimRequest) -> wire.ClaimReply:
        return await self._post("claim", said, wire.ClaimReply, timeout_s=said.wait_s + CLAIM_MARGIN_S)

    async def progress(self, attempt: int, said: wire.ProgressReport) -> None:
        await self._post(f"attempts/{attempt}/progress", said, wire.Ack)

    async def logs(self, attempt: int, said: wire.LogChunk) -> None:
        await self._post(f"attempts/{attempt}/logs", said, wire.Ack)

    async def grant(self, attempt: int, said: wire.UploadRequest) -> wire.UploadGrant:
        return await self._post(f"attempts/{attempt}/upload", said, wire.UploadGrant)

    async def finish(self, attempt: int, said: wire.FinishReport) -> None:
        await self._post(f"attempts/{attempt}/finish", said, wire.Ack)

    async def complete_upload(self, attempt: int, said: wire.UploadComplete) -> None:
        path = f"attempts/{attempt}/upload/complete"
        await self._post(path, said, wire.Ack, timeout_s=COMPLETE_S_MAX)

    async def put(self, url: str, piece: Piece, headers: Mapping[str, str] | None = None) -> str:
        """Streams a piece of a file to a signed URL. Returns its ETag, if the storage said one.

        Raises: Spent, Unreachable
        """
        said = {**(headers or {}), "Content-Length": str(piece.size_bytes), "Content-MD5": piece.md5}
        if self._storage is None:
            # Storage must not see our key, and may be slow where it still makes headway.
            self._storage = httpx.AsyncClient(timeout=httpx.Timeout(UPLOAD_SILENCE_S_MAX), trust_env=False)
        try:
            reply = await self._storage.put(url, headers=said, content=_chunks(piece))
        except httpx.TransportError as error:
            raise Unreachable(f"storage: {_why(error)}") from error
        if reply.status_code >= 300:
            kind = Spent if reply.status_code in _SPENT_STATUS else Unreachable
            raise kind(f"storage answered {reply.status_code}: {reply.text[:200]}")
        return str(reply.headers.get("etag", ""))

    async def _post(
        self, path: str, said: BaseModel, reply_model: type[Reply], *, timeout_s: float = CALL_S_MAX
    ) -> Reply:
        headers = {"Content-Type": "application/json"}
        content = said.model_dump_json()
        try:
            reply = await self._client.post(
                f"{self._base}/{path}", content=content, headers=headers, timeout=timeout_s
            )
            _check(reply)
            answer = reply_model.model_validate_json(reply.content)
            self.heard_at = time.monotonic()
            self.clock_off_s = _clock_off_s(reply)
        except httpx.HTTPError as error:
            raise Unreachable(_why(error)) from error
        except ValueError as error:  # A proxy's page instead of a reply.
            raise Unreachable(f"not a reply of an orchestrator: {str(error)[:200]}") from error
        return answer


async def patiently(call: Callable[[], Awaitable[Value]], *, for_s: float) -> Value:
    """Repeats a call that may be repeated while the orchestrator is out of reach, for that long."""
    tries = AsyncRetrying(
        stop=stop_after_delay(for_s),
        wait=wait_exponential(multiplier=0.2, max=5) + wait_random(0, 0.5),
        retry=retry_if_exception_type(Unreachable),
        reraise=True,
    )

    async def once() -> Value:
        return await call()

    return await tries(once)


def _clock_off_s(reply: httpx.Response) -> float:
    """By the Date that HTTP servers send, which is a whole second; 0.0 where there is none."""
    try:
        date = parsedate_to_datetime(reply.headers["date"])
    except (KeyError, ValueError):
        return 0.0
    return time.time() - date.timestamp()


def _check(reply: httpx.Response) -> None:
    if reply.is_success:
        return
    what = f"{reply.request.url.path} answered {reply.status_code}: {_detail(reply)}"
    if reply.status_code == 409:
        raise Stale(what)
    if reply.status_code in (401, 403):
        raise Refused(what)
    if reply.status_code == 410:
        raise Spent(what)
    if reply.status_code >= 500 or reply.status_code in _TROUBLE_STATUS:
        raise Unreachable(what)
    raise Rejected(what)


def _detail(reply: httpx.Response) -> str:
    try:
        problem = reply.json()
    except ValueError:
        return reply.text[:200]
    return (
        str(problem.get("detail") or problem.get("title") or problem)[:300]
        if isinstance(problem, dict)
        else ""
    )


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _chunks(piece: Piece) -> AsyncIterator[bytes]:
    left = piece.size_bytes
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk

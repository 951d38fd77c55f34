"""The seam that every kind of bucket implements, and how blocking SDKs are called: patiently, and never in the loop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, Literal, Protocol, TypeVar
from weakref import WeakSet

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from gpulease.contract.agent import UploadGrant
from worker_image.deliver.content import Content
from worker_image.faults import HostFault

CONNECT_S_MAX = 10.0
SILENCE_S_MAX = 60.0

_threads: WeakSet[Thread] = WeakSet()

Kind = Literal["b2", "minio"]
Value = TypeVar("Value")


class OutOfReach(HostFault):
    """The bucket's server cannot be reached, or is in trouble: try again."""


class GivenUp(Exception):
    """Nobody waits for this upload any more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What made a file; it is told beside the file, where the bucket's readers look for it."""

    job_id: str
    engine: str
    model: str | None
    backend: str
    metrics: dict[str, float | int | str]

    def beside(self, bucket: str, key: str, content: Content) -> dict[str, Any]:
        """The JSON that lies beside the file. `created_at` is now, in UTC."""
        return {
            "job_id": self.job_id,
            "engine": self.engine,
            "model": self.model,
            "backend": self.backend,
            "bucket": bucket,
            "file_name": key,
            "content_type": content.content_type,
            "size_bytes": content.size_bytes,
            "sha256": content.sha256,
            "metrics": self.metrics,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a file lies. `url` opens it for 7 days, and `etag` is S3's, where the kind of bucket has such."""

    kind: Kind
    bucket: str
    key: str
    url: str | None = None
    etag: str | None = None


class Destination(Protocol):
    """One bucket. What it stored, it has checked: size and digest are those of the file."""

    kind: Kind
    bucket: str

    def key_of(self, name: str) -> str:
        """Where a result of that name belongs."""
        ...

    def is_behind(self, grant: UploadGrant) -> bool:
        """Whether what the grant's URL writes to is this very bucket."""
        ...

    async def store(self, content: Content, key: str, facts: Facts | None, /) -> Stored:
        """Stores a file, and its facts beside it where that is the custom; repeating it is harmless.

        Raises:
            OutOfReach: for now.
            HostFault: it will not work until the owner does something; the message says what.
        """
        ...


async def in_thread(work: Callable[[Event], Value]) -> Value:
    """Runs blocking work, which should look at the event now and then: it is set when nobody waits any more.

    Its thread is one that ends with the process, since a silent server may hold it for a minute.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Value] = loop.create_future()
    given_up = Event()

    def tell(how: Callable[[Any], None], what: Any) -> None:
        if not answer.done():
            how(what)

    def run() -> None:
        how: tuple[Callable[[Any], None], Any]
        try:
            how = (answer.set_result, work(given_up))
        except Exception as error:  # noqa: BLE001  Whatever it is, it is the answer.
            how = (answer.set_exception, error)
        with contextlib.suppress(RuntimeError):  # The loop may have ended since.
            loop.call_soon_threadsafe(tell, *how)

    thread = Thread(target=run, daemon=True)
    _threads.add(thread)
    thread.start()
    try:
        return await answer
    finally:
        given_up.set()


def still_waiting() -> bool:
    """Whether a thread of an SDK, which Python would wait for at its end, may hang on a silent server."""
    return any(thread.is_alive() for thread in _threads)


async def steadily(call: Callable[[], Awaitable[Value]], *, for_s: float) -> Value:
    """Repeats a call that may be repeated while its bucket is out of reach, for that long. Raises as the last did."""
    tries = AsyncRetrying(
        stop=stop_after_delay(for_s),
        wait=wait_exponential(multiplier=0.3, max=10) + wait_random(0, 0.5),
        retry=retry_if_exception_type(OutOfReach),
        reraise=True,
    )

    async def once() -> Value:
        return await call()

    return await tries(once)

"""What both clients know about a file that goes in parts: what is left, how much was sent, when to try again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import retry_if_exception, stop_after_attempt, wait_random_exponential

from gpulease.client.core import passing, pausing, timeouts
from gpulease.client.errors import (
    ApiError,
    BadCredentials,
    BrokenOff,
    ClientError,
    NotFound,
    OtherFile,
    Unreachable,
    error_for,
    how_to_go_on,
)
from gpulease.client.files import Source, Told
from gpulease.contract.jobs import UploadPart, UploadPlan

PARTED_ABOVE_BYTES = 64 * 1024**2
PARTS_AT_ONCE = 4
PUT_TRIES_MAX = 7
PUT_PAUSE_S_MAX = 15.0
PUT_SILENT_S_MAX = 60.0
"""How long a storage may take to say that it has stored a part."""
TIMED_OUT = 408


@dataclass(frozen=True, slots=True)
class Parting:
    """From which size on a file goes in parts, how many of them at once, and how often each is tried.

    The pauses between tries are drawn at random, up to 0.5 s before the second, then twice as long each time.
    """

    above_bytes: int = PARTED_ABOVE_BYTES
    at_once: int = PARTS_AT_ONCE
    tries_max: int = PUT_TRIES_MAX
    pause_s_max: float = PUT_PAUSE_S_MAX

    def retrying(self) -> dict[str, Any]:
        """The options of tenacity for one part."""
        return {
            "retry": retry_if_exception(_again),
            "stop": stop_after_attempt(self.tries_max),
            "wait": pausing(wait_random_exponential(multiplier=0.5, max=self.pause_s_max)),
            "reraise": True,
        }


class Parted:
    """One upload under way, for any number of threads. `progress` hears one call at a time."""

    def __init__(self, source: Source, plan: UploadPlan, progress: Told | None = None) -> None:
        """Raises: OtherFile: the upload is of another size than the file."""
        if plan.upload.size_bytes != source.size_bytes:
            raise OtherFile(
                f"{source.path} has {source.size_bytes} bytes, but upload {plan.upload.id} "
                f"is of {plan.upload.name!r} with {plan.upload.size_bytes}"
            )
        self.id = plan.upload.id
        self.source = source
        self._progress = progress
        self._lock = threading.Lock()
        self._unsent: dict[int, UploadPart] = {}
        self._unsent_bytes = 0
        self._on_the_way_bytes: dict[int, int] = {}
        self._came: set[int] = set()
        self.take(plan)

    def left(self) -> list[int]:
        """The numbers of the parts that have not come, in order."""
        return sorted(self._unsent)

    def part(self, number: int) -> UploadPart | None:
        """How it is to be sent; None once it has come."""
        return self._unsent.get(number)

    def take(self, plan: UploadPlan) -> None:
        """A plan with fresh URLs. What has come meanwhile is not sent again."""
        with self._lock:
            # The plan may be older than what came while it was fetched.
            left = [part for part in plan.parts if not part.stored and part.number not in self._came]
            self._unsent = {part.number: part for part in left}
            self._unsent_bytes = sum(part.size_bytes for part in left)
            self._tell()

    def passed(self, part: UploadPart, sent_bytes: int) -> None:
        """So many bytes of this part were sent; 0 when it is begun, or begun again."""
        with self._lock:
            self._on_the_way_bytes[part.number] = sent_bytes
            self._tell()

    def arrived(self, part: UploadPart) -> None:
        with self._lock:
            self._came.add(part.number)
            self._on_the_way_bytes.pop(part.number, None)
            if self._unsent.pop(part.number, None) is not None:
                self._unsent_bytes -= part.size_bytes
            self._tell()

    def _tell(self) -> None:
        if self._progress is None:
            return
        size_bytes = self.source.size_bytes
        on_the_way = sum(sent for number, sent in self._on_the_way_bytes.items() if number in self._unsent)
        self._progress(size_bytes - self._unsent_bytes + on_the_way, size_bytes)


def put_request(
    http: httpx.Client | httpx.AsyncClient, url: httpx.URL, part: UploadPart, content: Any
) -> httpx.Request:
    """Its length is said: signed PUTs take no chunked bodies."""
    headers = {**part.headers, "Content-Length": str(part.size_bytes)}
    return http.build_request("PUT", url, content=content, headers=headers)


def storage_timeouts() -> httpx.Timeout:
    return timeouts(PUT_SILENT_S_MAX)


def check(reply: httpx.Response) -> None:
    """Raises: ApiError: the storage did not take the part; BadCredentials where its URL is no longer good."""
    if not reply.is_success:
        raise error_for(reply)


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """Names the storage, but not the URL: it is signed."""
    return Unreachable(f"cannot reach the storage at {url.host}: {str(error) or type(error).__name__}")


def _again(error: BaseException) -> bool:
    """Whether the part may well go through a moment later. A URL that is no longer good was renewed."""
    if isinstance(error, ApiError):
        status = error.problem.status
        return passing(error) or isinstance(error, BadCredentials) or status == TIMED_OUT or status >= 500
    return passing(error)


@contextmanager
def resumable(upload_id: str) -> Iterator[None]:
    """Whatever ends the upload says how to go on with it, unless that is no use."""
    try:
        yield
    except (NotFound, OtherFile):
        raise
    except ClientError as error:
        raise BrokenOff(upload_id, error) from error
    except BaseException as error:
        error.add_note(f"Upload {upload_id} broke off. {how_to_go_on(upload_id)}")
        raise

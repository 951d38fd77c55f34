"""Salad's job queues: a job is posted, and the container that is attached to the queue is given it.

What their words mean: the app in the container answering 4xx makes a job `succeeded`, with the answer as its output,
so that the output's own status decides. An interruption uses up one of four tries. `failed` is final. A running job
cannot be cancelled. The row of a job in our own store stays the truth.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import AliasChoices, BaseModel, Field

from provider_clients.errors import NotFound, OutcomeUnknown, ProviderError
from provider_clients.salad.account import SaladAccount
from provider_clients.salad.replies import Moment, read_as

QueueStatus = Literal["pending", "running", "succeeded", "cancelled", "failed"]
STATUSES = {"pending", "running", "succeeded", "cancelled", "failed"}
METADATA_ID = "id"
"""The key under which our own id of a job stands in its metadata."""
PAGE_SIZE = 100
PAGES_MAX = 50
LOOKS_S = (0.0, 1.5)
"""After a doubtful post: the waits before each look for the job."""


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """`action` is created, started, succeeded, cancelled or failed. `at` in epoch seconds."""

    action: str
    at: float | None


@dataclass(frozen=True, slots=True)
class QueueJob:
    """`output` is whatever JSON the app answered, with any status below 500 but 408 and 429."""

    id: str
    status: QueueStatus
    output: Any = None
    events: tuple[QueueEvent, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class EventReply(BaseModel):
    """The word's key is `action` in the API, and `type` in webhooks."""

    action: str = Field(validation_alias=AliasChoices("action", "type"))
    time: Moment = None


class JobReply(BaseModel):
    id: str
    status: str
    output: Any = None
    events: tuple[EventReply, ...] = ()
    metadata: dict[str, Any] | None = None
    queue_name: str | None = None

    def job(self) -> QueueJob:
        return QueueJob(
            id=self.id,
            status=queue_status(self.status),
            output=self.output,
            events=tuple(QueueEvent(one.action, one.time) for one in self.events),
            metadata=self.metadata or {},
        )


class JobsReply(BaseModel):
    items: tuple[JobReply, ...]


class SaladQueue:
    """Jobs of any queue of a project. The account of a `SaladConfig` in queue mode has the right share of requests."""

    def __init__(self, account: SaladAccount) -> None:
        self._account = account
        self._http = account.http()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def post(
        self, queue: str, job_input: Any, metadata: Mapping[str, Any], webhook: str | None = None
    ) -> str:
        """Posts once, and returns Salad's id of the job. `metadata` must have our own id of it under `id`.

        Raises:
            OutcomeUnknown: it may have been posted, and is not to be seen yet. `find` tells later; posting again
                might run it twice.
        """
        body = {"input": job_input, "metadata": dict(metadata), **({"webhook": webhook} if webhook else {})}
        our_id = str(metadata[METADATA_ID])
        try:
            return read_as(JobReply, await self._http.write("POST", self._jobs(queue), json=body)).id
        except OutcomeUnknown as error:
            return await self._posted_all_the_same(queue, our_id, error)

    async def find(self, queue: str, our_id: str) -> QueueJob | None:
        """The job with our id in its metadata, if the queue lists one."""
        async for one in self.jobs(queue):
            if str(one.metadata.get(METADATA_ID)) == our_id:
                return one
        return None

    async def job(self, queue: str, job_id: str) -> QueueJob:
        return read_as(JobReply, await self._http.read("GET", f"{self._jobs(queue)}/{job_id}")).job()

    async def jobs(self, queue: str) -> AsyncIterator[QueueJob]:
        """All that the queue lists, page by page."""
        for page in range(1, PAGES_MAX + 1):
            path = f"{self._jobs(queue)}?page={page}&page_size={PAGE_SIZE}"
            found = read_as(JobsReply, await self._http.read("GET", path)).items
            for one in found:
                yield one.job()
            if len(found) < PAGE_SIZE:
                return

    async def cancel(self, queue: str, job_id: str) -> None:
        """Takes back a job that waits still. One that is no more is as good as cancelled.

        Raises:
            Rejected: it runs already, or has ended.
        """
        try:
            await self._http.write("DELETE", f"{self._jobs(queue)}/{job_id}")
        except NotFound:
            return

    async def _posted_all_the_same(self, queue: str, our_id: str, doubt: OutcomeUnknown) -> str:
        for wait_s in LOOKS_S:
            await asyncio.sleep(wait_s)
            try:
                found = await self.find(queue, our_id)
            except ProviderError:
                continue
            if found is not None:
                return found.id
        raise OutcomeUnknown(f"{doubt}; the queue does not list the job, but may do so later") from doubt

    def _jobs(self, queue: str) -> str:
        return f"{self._account.queue_path(queue)}/jobs"


def queue_status(word: str) -> QueueStatus:
    """Webhooks spell one of them as Americans do."""
    status = "cancelled" if word == "canceled" else word
    if status not in STATUSES:
        raise OutcomeUnknown(f"Salad calls the job {word!r}, which is no status that we know")
    return cast("QueueStatus", status)

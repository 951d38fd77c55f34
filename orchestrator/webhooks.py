"""Webhooks: a durable outbox, read in a loop of its own and never in a job's path.

The payload is made from the job's row at the time of sending, and has the form of the first render API. A 3xx is a
failure with its reason; a receiver that hangs holds up only the few sends that its host may have at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from gpulease.contract.jobs import Result
from gpulease.guard import ForbiddenAddress, guarded_client
from orchestrator.clock import Clock
from orchestrator.storage.protocol import StorageUnavailable
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Delivery, Job
from scaling.states import JobState

TRIES_MAX = 5
RETRY_S = 5.0
TIMEOUT_S = 10.0
TOTAL_MAX = 20
PER_HOST_MAX = 4
DUE_MAX = 100
WAITING_MAX = 5_000
log = structlog.get_logger()
Signed = Callable[[Result], Awaitable[Result]]


class Webhooks:
    """`signed` gives a result the URLs that clients may open."""

    def __init__(
        self, store: Store, clock: Clock, *, signed: Signed, allow_hosts: Collection[str] = ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._signed = signed
        self._http = guarded_client(allow_hosts=allow_hosts, timeout_s=TIMEOUT_S, follow_redirects=False)
        self._total = asyncio.Semaphore(TOTAL_MAX)
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PER_HOST_MAX)
        )
        self._sending: dict[int, asyncio.Task[None]] = {}

    async def deliver_due(self) -> int:
        """Starts what is due and not on its way yet, and returns how many that were. It waits for none."""
        # What waits for a slow host is still due: without room for it, it would hide all that comes after.
        limit = min(WAITING_MAX, DUE_MAX + len(self._sending))
        due = await self._store.due_deliveries(now=self._clock.now(), limit=limit)
        fresh = [one for one in due if one.id not in self._sending]
        for delivery in fresh:
            task = asyncio.create_task(self._deliver(delivery))
            self._sending[delivery.id] = task
            task.add_done_callback(partial(self._sent, delivery.id))
        return len(fresh)

    def _sent(self, delivery_id: int, task: asyncio.Task[None]) -> None:
        """What broke on our side was not recorded as a try, and is due again."""
        self._sending.pop(delivery_id, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook_broke", delivery=delivery_id, exc_info=error)

    async def drain(self) -> None:
        """Waits for what is on its way."""
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def aclose(self) -> None:
        """Drops what is on its way; it is due again at the next start."""
        for task in list(self._sending.values()):
            task.cancel()
        await self.drain()
        await self._http.aclose()

    async def _deliver(self, delivery: Delivery) -> None:
        host = urlsplit(delivery.url).netloc
        async with self._hosts[host], self._total:
            status, error = await self._send(delivery)
        now = self._clock.now()
        again = error is not None and delivery.tries + 1 < TRIES_MAX
        await self._store.record_delivery(
            delivery.id, status=status, error=error, now=now, next_at=now + RETRY_S if again else None
        )
        if error is not None:
            log.warning("webhook_failed", job=delivery.job_id, host=host, error=error, again=again)

    async def _send(self, delivery: Delivery) -> tuple[int | None, str | None]:
        """Returns the HTTP status, if there was one, and what went wrong, if anything."""
        job = await self._store.get_job(delivery.job_id)
        if job is None:
            return None, "the job is not kept any more"
        headers = {"webhook-id": f"msg_{delivery.id}", "webhook-timestamp": str(int(self._clock.now()))}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._post(delivery.url, await self.payload(job), headers)
        except TimeoutError:
            return None, f"no reply within {TIMEOUT_S:.0f} s"
        except (httpx.HTTPError, httpx.InvalidURL, ForbiddenAddress, StorageUnavailable) as error:
            return None, f"{type(error).__name__}: {error}"
        if reply.is_success:
            return reply.status_code, None
        moved = f" to {reply.headers['location']}" if reply.has_redirect_location else ""
        return reply.status_code, f"HTTP {reply.status_code}{moved}: only a 2xx counts as received"

    async def _post(self, url: str, payload: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        """Returns the reply without its body, which may be of any size and tells us nothing."""
        async with self._http.stream("POST", url, json=payload, headers=headers) as reply:
            return reply

    async def payload(self, job: Job) -> dict[str, Any]:
        """`{"id", "status": "success", "result_url" | "text"}`, or `{"id", "status": "failed", "error"}`."""
        if job.state is not JobState.SUCCEEDED or job.result is None:
            reason = job.fault.message if job.fault else str(job.state)
            return {"id": job.id, "status": "failed", "error": reason}
        if job.result.text is not None:
            return {"id": job.id, "status": "success", "text": job.result.text}
        files = (await self._signed(job.result)).files
        return {"id": job.id, "status": "success"} | ({"result_url": files[0].url} if files else {})

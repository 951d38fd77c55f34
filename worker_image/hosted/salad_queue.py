"""One Salad queue as jobs go through it: posted once, looked at in turn or at a word, and told how they ended."""

import asyncio
import contextlib
from typing import Any

from gpulease.contract.jobs import Phase
from provider_clients.errors import NotFound, OutcomeUnknown, ProviderError, RateLimited
from provider_clients.salad.queue import QueueJob, SaladQueue
from worker_image.engines.base import Report
from worker_image.faults import HostFault
from worker_image.hosted.duties import News

POLL_S = 5.0
DOUBT_S_MAX = 60.0


class QueueDesk:
    """One queue: jobs go in, and come out ended."""

    def __init__(
        self, queue: SaladQueue, name: str, news: News, webhook: str | None, *, poll_s: float = POLL_S
    ) -> None:
        self._queue = queue
        self._name = name
        self._news = news
        self._webhook = webhook
        self._poll_s = poll_s

    async def post(self, body: dict[str, Any], our_id: str) -> str:
        """Raises: HostFault."""
        try:
            return await self._queue.post(self._name, body, {"id": our_id}, self._webhook)
        except OutcomeUnknown as doubt:
            return await self._seen_late(our_id, doubt)
        except ProviderError as error:
            raise HostFault("queue_refused", f"Salad's queue does not take the job: {error}") from error

    async def ended(self, job_id: str, report: Report) -> QueueJob:
        """Looks at once where a webhook told of it, and in turn where none did."""
        clock = asyncio.get_running_loop()
        seen_at = started = clock.time()
        wait_s = self._poll_s
        while True:
            try:
                found = await self._queue.job(self._name, job_id)
            except RateLimited as error:
                await asyncio.sleep(error.retry_after_s)
                continue
            except NotFound as error:
                raise HostFault("queue_job_gone", f"Salad's queue knows the job no more: {error}") from error
            except ProviderError as error:
                if clock.time() - seen_at > DOUBT_S_MAX:
                    raise HostFault("queue_unreachable", f"Salad's queue: {error}") from error
            else:
                seen_at = clock.time()
                if found.status not in ("pending", "running"):
                    return found
                wait_s = self._poll_s * (2 if found.status == "pending" else 1)
                _tell(found, seen_at - started, report)
            await self._news.wait(job_id, wait_s)

    async def cancel(self, job_id: str) -> None:
        """Raises: ProviderError: it runs already."""
        await self._queue.cancel(self._name, job_id)

    async def _seen_late(self, our_id: str, doubt: OutcomeUnknown) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DOUBT_S_MAX):
                while True:
                    with contextlib.suppress(ProviderError):
                        if found := await self._queue.find(self._name, our_id):
                            return found.id
                    await asyncio.sleep(self._poll_s)
        raise HostFault("queue_unreachable", f"Salad's queue: {doubt}") from doubt


def _tell(found: QueueJob, seconds: float, report: Report) -> None:
    """Waiting is no progress; what goes on in the container nobody can see, so that running is."""
    if found.status == "pending":
        report(0.0, "waiting in Salad's queue", phase=Phase.PREPARING)
    else:
        report(0.0, f"running in Salad's container, {seconds:.0f} s")

"""Jobs that end at somebody's word, and jobs that are gone with all that was theirs: rows, files, logs."""

from collections.abc import Callable

from orchestrator.clock import Clock
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.logs import Logs
from orchestrator.storage.protocol import Storage, StorageUnavailable
from orchestrator.store.people import By
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Job, Purged


class Remover:
    """Rows go first: a file that nobody names only takes space, a row without its file is a broken promise.

    What the storage could not delete now, it is asked to delete at the next turn of `settle`.
    """

    def __init__(self, store: Store, storage: Storage, logs: Logs, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._storage = storage
        self._logs = logs
        self._feed = feed
        self._clock = clock
        self._owed: list[str] = []
        self.on_end: Callable[[], None] = lambda: None

    async def end(
        self, job_id: str, *, by: By, reason: str = "cancelled by its client", code: str = "cancelled"
    ) -> Job | None:
        """Ends a queued or running job, and stops its attempt; one that has ended stays as it is."""
        now = self._clock.now()
        job = await self._store.cancel_job(job_id, who=by.who, reason=reason, now=now, code=code, by=by)
        if job is not None:
            self._feed.publish(job_id)
            self.on_end()
        return job

    async def remove(self, job_id: str, *, by: By) -> bool:
        """Ends the job if it has not, and forgets it; False where there is none."""
        if await self.end(job_id, by=by, reason="removed by its client") is None:
            return False
        purged = await self._store.forget_job(job_id, now=self._clock.now(), by=by)
        if purged is not None:
            await self.take_away(purged)
        return purged is not None

    async def take_away(self, purged: Purged) -> None:
        """Deletes what rows named that are gone."""
        self._owed += purged.keys
        await self._logs.remove(list(purged.job_ids))
        try:
            await self.settle()
        except StorageUnavailable:
            return

    async def settle(self) -> None:
        """Deletes what is owed.

        Raises:
            StorageUnavailable: it is owed still.
        """
        if self._owed:
            await self._storage.delete(self._owed)
            self._owed = []

"""What is kept no longer: finished jobs and their files, expired uploads, workers long gone."""

import structlog

from orchestrator.clock import Clock
from orchestrator.jobs.logs import Logs
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store

log = structlog.get_logger()


class Retention:
    def __init__(self, store: Store, storage: Storage, logs: Logs, clock: Clock, keep_s: float) -> None:
        self._store = store
        self._storage = storage
        self._logs = logs
        self._clock = clock
        self._keep_s = keep_s

    async def sweep(self) -> None:
        """Rows go first: a file that nobody names only takes space, a row without its file is a broken promise."""
        while True:
            now = self._clock.now()
            purged = await self._store.purge(finished_before=now - self._keep_s, now=now)
            await self._storage.delete(list(purged.keys))
            await self._logs.remove(list(purged.job_ids))
            if not purged.job_ids and not purged.keys:
                return
            log.info("purged", jobs=len(purged.job_ids), files=len(purged.keys), workers=purged.workers)

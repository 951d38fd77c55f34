"""What is kept no longer: finished jobs and their files, expired uploads, workers long gone."""

import structlog

from orchestrator.clock import Clock
from orchestrator.jobs.logs import Logs
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store

UPLOAD_S_MAX = 86_400 + 2 * 3600
"""No job lives longer, and so nobody will complete an upload that is older."""
log = structlog.get_logger()


class Retention:
    def __init__(self, store: Store, storage: Storage, logs: Logs, clock: Clock, keep_s: float) -> None:
        self._store = store
        self._storage = storage
        self._logs = logs
        self._clock = clock
        self._keep_s = keep_s
        self._owed: list[str] = []

    async def sweep(self) -> None:
        """Rows go first: a file that nobody names only takes space, a row without its file is a broken promise.
        What the storage could not delete now, it is asked to delete at the next turn.
        """
        while True:
            now = self._clock.now()
            purged = await self._store.purge(finished_before=now - self._keep_s, now=now)
            self._owed += purged.keys
            await self._storage.delete(self._owed)
            self._owed = []
            await self._logs.remove(list(purged.job_ids))
            if not purged.job_ids and not purged.keys:
                break
            log.info("purged", jobs=len(purged.job_ids), files=len(purged.keys), workers=purged.workers)
        given_up = await self._storage.abort_unfinished(begun_before=self._clock.now() - UPLOAD_S_MAX)
        if given_up:
            log.info("unfinished_uploads_given_up", count=given_up)

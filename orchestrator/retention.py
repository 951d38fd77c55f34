"""What is kept no longer: finished jobs and their files, expired uploads, workers long gone."""

import structlog

from orchestrator.clock import Clock
from orchestrator.jobs.remove import Remover
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store

UPLOAD_S_MAX = 86_400 + 2 * 3600
"""No job lives longer, and so nobody will complete an upload that is older."""
log = structlog.get_logger()


class Retention:
    def __init__(self, store: Store, storage: Storage, remover: Remover, clock: Clock, keep_s: float) -> None:
        self._store = store
        self._storage = storage
        self._remover = remover
        self._clock = clock
        self._keep_s = keep_s

    async def sweep(self) -> None:
        while True:
            await self._remover.settle()
            now = self._clock.now()
            purged = await self._store.purge(finished_before=now - self._keep_s, now=now)
            if not purged.job_ids and not purged.keys:
                break
            await self._remover.take_away(purged)
            log.info("purged", jobs=len(purged.job_ids), files=len(purged.keys), workers=purged.workers)
        given_up = await self._storage.abort_unfinished(begun_before=self._clock.now() - UPLOAD_S_MAX)
        if given_up:
            log.info("unfinished_uploads_given_up", count=given_up)

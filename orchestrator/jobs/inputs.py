"""What a worker may fetch for a job: the client's URLs as they are, uploads and assets as signed URLs of ours."""

from gpulease.contract.agent import Assignment
from gpulease.contract.engines import CATALOGUE
from orchestrator.jobs.submit import UPLOAD_SCHEME
from orchestrator.library.links import ASSET_SCHEME, find_link
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Claimed, Job


class Inputs:
    def __init__(self, store: Store, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def urls(self, job: Job) -> dict[str, str]:
        """URLs by input field, good for as long as the job may run."""
        expires_s = job.complete_by - job.created_at + 3600
        named = CATALOGUE[job.need.engine].urls(job.input)
        return {field: await self._resolve(url, expires_s=expires_s) for field, url in named.items()}

    async def _resolve(self, url: str, expires_s: float) -> str:
        key = await self._key(url)
        return await self._storage.presign_get(key, expires_s=expires_s) if key else url

    async def _key(self, url: str) -> str | None:
        """Of a file of ours. One that is gone stays a reference, which no worker can fetch."""
        if url.startswith(UPLOAD_SCHEME):
            upload = await self._store.get_upload(url.removeprefix(UPLOAD_SCHEME))
            return upload.key if upload else None
        found = await find_link(self._store, url) if url.startswith(ASSET_SCHEME) else None
        return found[1].key if found else None

    async def assignment(self, claimed: Claimed, now: float) -> Assignment:
        job, attempt = claimed.job, claimed.attempt
        left_s = min(attempt.started_at + job.max_time_s, job.complete_by) - now
        return Assignment(
            attempt=attempt.id,
            number=attempt.number,
            job_id=job.id,
            engine=job.need.engine,
            model=job.need.model,
            input=job.input,
            inputs=await self.urls(job),
            time_left_s=max(0.0, left_s),
            stalled_after_s=CATALOGUE[job.need.engine].stalled_after_s,
        )

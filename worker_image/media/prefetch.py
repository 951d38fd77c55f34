"""Inputs of the job that may come next, fetched while the engine works on the one before."""

import asyncio
import shutil
from pathlib import Path

import structlog

from gpulease.contract.agent import Prefetch
from worker_image.media.fetch import Fetcher

_log = structlog.get_logger()


class Prefetched:
    """Holds one job's inputs at most. A newer hint for another job replaces it; nothing else depends on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._job_id: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._files: dict[str, Path] = {}

    def hint(self, hint: Prefetch, fetcher: Fetcher) -> None:
        if hint.job_id == self._job_id:
            return
        self.drop()
        self._job_id = hint.job_id
        self._task = asyncio.create_task(self._fetch(hint, fetcher))

    async def take(self, job_id: str, field: str, path: Path) -> bool:
        """Moves a prefetched input to `path`; False if there is none. Waits for a fetch under way."""
        if job_id != self._job_id or self._task is None:
            return False
        await asyncio.wait({self._task})
        held = self._files.pop(field, None)
        if held is None or not held.exists():
            return False
        held.replace(path)
        return True

    def drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._job_id, self._task, self._files = None, None, {}
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _fetch(self, hint: Prefetch, fetcher: Fetcher) -> None:
        self._folder.mkdir(parents=True)
        for number, (field, url) in enumerate(hint.inputs.items()):
            path = self._folder / str(number)
            try:
                await fetcher.fetch(url, path)
            except Exception as error:  # noqa: BLE001  A hint may fail for any reason; the job itself fetches.
                _log.info("prefetch_failed", job_id=hint.job_id, field=field, error=str(error))
                continue
            self._files[field] = path

"""The models behind all nodes: one resident process an engine, whatever the number of nodes."""

import asyncio
from pathlib import Path

from gpulease.contract.engines import CATALOGUE
from worker_image.engines.base import EngineConfig, EngineJob, Outcome
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool

BACKENDS = {"csm": "hibari", "whisper": "faster-whisper"}


class LocalModels:
    """Nothing is loaded before it is needed. Raises the engines' own faults."""

    def __init__(self, folder: Path) -> None:
        self._pool = HostPool(EngineConfig(), folder)
        self._turns = {engine: asyncio.Lock() for engine in BACKENDS}

    async def run(
        self, engine: str, asked: dict[str, object], files: dict[str, str], folder: Path
    ) -> Outcome:
        spec = CATALOGUE[engine]
        checked = spec.input_model.model_validate({**asked, **dict.fromkeys(files, "https://node/input")})
        job = EngineJob(folder.name, engine, spec.model_of(checked), checked.model_dump(), files, str(folder))
        async with self._turns[engine], self._pool.lease(engine, BACKENDS[engine], job.model) as host:
            return await host.run(job, JobLog(host.log_path), lambda _: None)

    async def aclose(self) -> None:
        await self._pool.close()

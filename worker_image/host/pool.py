"""The engine processes of this worker: resident between jobs, warm model first, oldest idle one out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

from worker_image.engines.base import EngineConfig
from worker_image.faults import GPU_CODES, HostFault
from worker_image.host.process import EngineProcess

IDLE_MAX = 4


class HostPool:
    def __init__(self, config: EngineConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._numbers = count(1)
        self._idle: list[EngineProcess] = []
        self._all: set[EngineProcess] = set()
        self._engines: dict[EngineProcess, str] = {}

    def resident(self) -> tuple[str, ...]:
        """Models in memory, as engine/model."""
        here = {f"{self._engines[host]}/{host.model}" for host in self._all if host.alive and host.model}
        return tuple(sorted(here))

    @contextlib.asynccontextmanager
    async def lease(self, engine: str, backend: str, model: str | None) -> AsyncIterator[EngineProcess]:
        """A process of that backend for one job; it stays for the next one if it lives."""
        host = self._take(backend, model) or await self._start(engine, backend)
        try:
            yield host
        except HostFault as fault:
            if fault.code in GPU_CODES:  # What others keep there may be what was missing.
                await self.unload()
            raise
        finally:
            await self._give(host)

    def kill(self) -> None:
        for host in self._all:
            host.kill()

    async def unload(self) -> None:
        """Ends the processes that no job has: nothing of theirs stays in memory."""
        await asyncio.gather(*(self._drop(host) for host in list(self._idle)))

    async def close(self) -> None:
        await asyncio.gather(*(self._drop(host) for host in list(self._all)))

    def _take(self, backend: str, model: str | None) -> EngineProcess | None:
        fitting = [host for host in self._idle if host.backend == backend and host.alive]
        warm = [host for host in fitting if model in (None, host.model)]
        if not fitting:
            return None
        chosen = (warm or fitting)[-1]
        self._idle.remove(chosen)
        return chosen

    async def _start(self, engine: str, backend: str) -> EngineProcess:
        folder = self._folder / f"{backend}-{next(self._numbers)}"
        host = await EngineProcess.start(backend, self._config, folder)
        self._all.add(host)
        self._engines[host] = engine
        return host

    async def _give(self, host: EngineProcess) -> None:
        if not host.alive:
            await self._drop(host)
            return
        self._idle.append(host)
        while len(self._idle) > IDLE_MAX:
            await self._drop(self._idle[0])

    async def _drop(self, host: EngineProcess) -> None:
        idle = host in self._idle
        if idle:
            self._idle.remove(host)
        self._all.discard(host)
        self._engines.pop(host, None)
        await (host.retire() if idle and host.alive else host.end())

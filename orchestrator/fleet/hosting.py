"""Hosted agents: one supervised child process for each provider whose machines cannot run our agent.

A child hears of our end by the end of its standard input, so none outlives us, whatever kills us.
"""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path

import structlog

from gpulease.contract.hosts import Duties, Duty
from orchestrator.fleet.clouds.leases import Deployment
from orchestrator.keys import host_key, worker_key
from orchestrator.store.protocol import Store
from provider_clients.local import inherited
from scaling.states import WorkerState

W = WorkerState
SERVED = frozenset({W.STARTING, W.READY, W.DRAINING})
RETRY_S = 1.0
RETRY_S_MAX = 30.0
STEADY_S = 60.0
"""A child that lived so long is started again at once."""
END_S_MAX = 5.0
NEWS_MAX = 200
log = structlog.get_logger()


@dataclass(slots=True)
class Hosting:
    """`environments` are what each child needs beside who it is, by provider."""

    store: Store
    deployment: Deployment
    environments: Mapping[str, Mapping[str, str]]
    folder: Path
    command: tuple[str, ...] = (sys.executable, "-m", "worker_image")
    on_exit: Callable[[str, int], None] = lambda _name, _status: None
    _news: dict[str, deque[str]] = field(default_factory=dict)
    _children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._keep(name)) for name in self.environments]

    async def stop(self) -> None:
        """Ends the children: they hand back what runs, and are killed if they take too long."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.gather(*(self._end(child) for child in self._children.values()))
        self._children.clear()

    def admits(self, provider: str, key: str) -> bool:
        known = host_key(self.deployment.secret, provider)
        return provider in self.environments and compare_digest(key.encode(), known.encode())

    async def duties(self, provider: str) -> Duties:
        """Every live worker of that provider whose machine has an address."""
        workers = await self.store.list_workers(include_gone=False, limit=10_000)
        theirs = [one for one in workers if one.provider == provider and one.state in SERVED]
        return Duties(
            duties=tuple(
                Duty(
                    worker_id=one.id,
                    worker_key=worker_key(self.deployment.secret, one.id),
                    gpu_class=one.gpu_class,
                    address=one.address,
                )
                for one in theirs
                if one.address is not None
            ),
            news=tuple(self._news.get(provider, ())),
        )

    def tell(self, provider: str, news: str) -> None:
        """Something at the provider ended; its hosted agents look at once."""
        self._news.setdefault(provider, deque(maxlen=NEWS_MAX)).append(news)

    async def _keep(self, name: str) -> None:
        """Starts the child whenever it is not there; one that keeps ending is started less and less often."""
        wait_s = RETRY_S
        clock = asyncio.get_running_loop()
        while True:
            began = clock.time()
            try:
                status = await (await self._start(name)).wait()
            except OSError as error:
                log.error("host_not_started", provider=name, error=str(error))  # noqa: TRY400  The reason is in it.
                status = -1
            log.warning("host_ended", provider=name, exit_status=status)
            self.on_exit(name, status)
            wait_s = RETRY_S if clock.time() - began > STEADY_S else min(RETRY_S_MAX, wait_s * 2)
            await asyncio.sleep(wait_s)

    async def _start(self, name: str) -> asyncio.subprocess.Process:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "host.log").open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *self.command,
                "--host",
                name,
                env=self._environment(name, folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[name] = child
        log.info("host_started", provider=name, pid=child.pid)
        return child

    def _environment(self, name: str, folder: Path) -> dict[str, str]:
        return {
            **inherited(),
            **self.environments[name],
            "GPULEASE_ORCHESTRATOR_URL": self.deployment.origin(),
            "GPULEASE_HOST_KEY": host_key(self.deployment.secret, name),
            "GPULEASE_SCRATCH": str(folder / "scratch"),
        }

    @staticmethod
    async def _end(child: asyncio.subprocess.Process) -> None:
        if child.returncode is not None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(END_S_MAX):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

"""One worker process: the agent if an orchestrator is set, the HTTP app if a port is; both end together.

A first SIGTERM or SIGINT drains (see `Agent.stop`), a second one ends everything at once. Either way no engine and no
file of ours is left.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import structlog

from worker_image.agent import Agent, Exit, Machine
from worker_image.engines.registry import config_of, probe_all
from worker_image.execute import Executor
from worker_image.host.pool import HostPool
from worker_image.link import Link
from worker_image.media.prefetch import Prefetched
from worker_image.scratch import close_scratch, open_scratch
from worker_image.settings import PORT_DEFAULT, PORT_OFF, Settings
from worker_image.slots import Slots

_log = structlog.get_logger()


def main(settings: Settings) -> int:
    """Runs a worker to its end and returns the exit code of its process."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=sys.stderr))
    return asyncio.run(serve(settings))


async def serve(settings: Settings) -> int:
    """The same inside a running loop, whose main thread must be the process's."""
    scratch = open_scratch(settings.scratch)
    config = config_of(settings)
    offers, reasons = probe_all(config)
    for backend, reason in reasons.items():
        _log.info("not_offered", backend=backend, reason=reason)
    pool = HostPool(config, scratch / "hosts")
    prefetched = Prefetched(scratch / "prefetched")
    executor = Executor(pool, tuple(offers), prefetched, settings.gpu_class)
    machine = Machine(settings, executor, prefetched, Slots(settings.capacity), scratch)
    try:
        return await _serve(machine, pool)
    finally:
        await pool.close()
        close_scratch(scratch)


async def _serve(machine: Machine, pool: HostPool) -> int:
    stop = asyncio.Event()
    with _signals(machine, pool, stop):
        parts = [_serve_agent(machine, stop), _serve_http(machine, stop)]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
    return max(done)


async def _serve_agent(machine: Machine, stop: asyncio.Event) -> int:
    settings = machine.settings
    if not settings.orchestrator_url or not settings.worker_id:
        return Exit.STOPPED
    key = settings.worker_key.get_secret_value() if settings.worker_key else None
    link = Link(settings.orchestrator_url, settings.worker_id, key)
    agent = Agent(machine, link)
    ending = asyncio.create_task(_when(stop, agent))
    try:
        return await agent.run()
    finally:
        stop.set()
        await ending
        await link.aclose()


async def _when(stop: asyncio.Event, agent: Agent) -> None:
    await stop.wait()
    agent.stop()


async def _serve_http(machine: Machine, stop: asyncio.Event) -> int:
    port = PORT_DEFAULT if machine.settings.port is None else machine.settings.port
    if port == PORT_OFF:
        return Exit.STOPPED
    from worker_image.listen import serve_http  # noqa: PLC0415  A leased worker starts faster without a web framework.

    return await serve_http(machine, port, stop)


@contextlib.contextmanager
def _signals(machine: Machine, pool: HostPool, stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        if stop.is_set():
            pool.kill()
            close_scratch(machine.scratch)
            os._exit(1)
        _log.info("stopping", signal=name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

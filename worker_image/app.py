"""One worker process: the agent if an orchestrator is set, HTTP and gRPC if their ports are; all end together.

A first SIGTERM or SIGINT drains (see `Agent.stop`), a second one ends everything at once. Either way no engine and no
file of ours is left. SIGUSR1 pauses and resumes, for the machine's owner.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import structlog

from worker_image.agent import FIRST_CONTACT_S_MAX, Agent, Exit, Machine
from worker_image.engines.registry import config_of, probe_all
from worker_image.execute import Executor
from worker_image.host.pool import HostPool
from worker_image.link import Link
from worker_image.local import LocalJobs
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.scratch import close_scratch, open_scratch
from worker_image.serving.gate import OWNER, Gate
from worker_image.serving.imds import URL_DEFAULT, Imds
from worker_image.serving.words import Talk, talk_as
from worker_image.settings import PORT_DEFAULT, PORT_OFF, Settings
from worker_image.slots import Slots

_STOPS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """What the parts of this process share. `stop` ends all of them; the owner holds the `gate`."""

    machine: Machine
    jobs: LocalJobs
    pool: HostPool
    gate: Gate
    stop: asyncio.Event


def main(settings: Settings, talk: Talk = "plain") -> int:
    """Runs a worker to its end and returns the exit code of its process."""
    talk_as(talk)
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
    fetcher = Fetcher(allow_hosts=settings.allow_private_hosts, bytes_max=settings.download_bytes_max)
    jobs = LocalJobs(executor, machine.slots, fetcher, scratch / "local")
    try:
        return await _serve(Running(machine, jobs, pool, Gate(), asyncio.Event()))
    finally:
        await jobs.stop()
        await pool.close()
        close_scratch(scratch)


async def _serve(running: Running) -> int:
    with _signals(running):
        parts = (_serve_agent(running), _serve_http(running), _serve_grpc(running))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            running.stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
    return max(done)


async def _serve_agent(running: Running) -> int:
    """One agent after the other where a worker that nobody wants rests, else one."""
    settings, stop = running.machine.settings, running.stop
    if not settings.orchestrator_url or not settings.worker_id:
        return Exit.STOPPED
    _log.info("connecting", url=settings.orchestrator_url, worker_id=settings.worker_id)
    try:
        async with _deletion_cost(settings) as on_busy:
            patience_s = FIRST_CONTACT_S_MAX
            while True:
                code, served = await _one_agent(running, patience_s, on_busy)
                if stop.is_set() or not _rests(settings, code):
                    return code
                if patience_s or served:
                    _log.info("resting", every_s=settings.rest_s)
                patience_s = 0.0
                await running.pool.unload()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.rest_s):
                        await stop.wait()
                        return Exit.STOPPED
    finally:
        stop.set()


async def _one_agent(
    running: Running, patience_s: float, on_busy: Callable[[bool], None]
) -> tuple[Exit, bool]:
    """Why it ended, and whether the orchestrator had taken it on."""
    settings = running.machine.settings
    key = settings.worker_key.get_secret_value() if settings.worker_key else None
    link = Link(settings.orchestrator_url or "", settings.worker_id or "", key)
    agent = Agent(running.machine, link, gate=running.gate)
    agent.first_contact_s_max, agent.on_busy = patience_s, on_busy
    ending = asyncio.create_task(_when(running.stop, agent))
    try:
        return await agent.run(), agent.served
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await link.aclose()


async def _when(stop: asyncio.Event, agent: Agent) -> None:
    await stop.wait()
    agent.stop()


def _rests(settings: Settings, code: Exit) -> bool:
    match settings.rests or ("always" if settings.on_salad else "never"):
        case "always":
            return True
        case "unreached":
            return code in (Exit.UNREACHABLE, Exit.ORPHANED)
        case "never":
            return False


@contextlib.asynccontextmanager
async def _deletion_cost(settings: Settings) -> AsyncIterator[Callable[[bool], None]]:
    """Who is to hear whether this worker is busy: on Salad its node, elsewhere nobody."""
    if not settings.on_salad:
        yield lambda _: None
        return
    imds = Imds(settings.salad_metadata_uri or URL_DEFAULT)
    imds.set_busy(False)
    try:
        yield imds.set_busy
    finally:
        await imds.aclose()


async def _serve_http(running: Running) -> int:
    settings = running.machine.settings
    port = PORT_DEFAULT if settings.port is None else settings.port
    if port == PORT_OFF:
        return Exit.STOPPED
    from worker_image.listen import serve_http  # noqa: PLC0415  A leased worker starts faster without a web framework.

    return await serve_http(running.machine, running.jobs, port, running.stop)


async def _serve_grpc(running: Running) -> int:
    settings = running.machine.settings
    if settings.grpc_port == PORT_OFF:
        return Exit.STOPPED
    from worker_image.rpc.serve import serve_grpc  # noqa: PLC0415  As above; few workers serve it.

    return await serve_grpc(settings, running.jobs, running.machine.executor.offers, running.stop)


@contextlib.contextmanager
def _signals(running: Running) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, _on_stop, running, number.name)
    loop.add_signal_handler(signal.SIGUSR1, _on_pause, running.gate)
    try:
        yield
    finally:
        for number in (*_STOPS, signal.SIGUSR1):
            loop.remove_signal_handler(number)


def _on_stop(running: Running, name: str) -> None:
    if running.stop.is_set():
        running.pool.kill()
        close_scratch(running.machine.scratch)
        os._exit(1)
    _log.info("stopping", signal=name, grace_s=running.machine.settings.grace_s)
    running.stop.set()


def _on_pause(gate: Gate) -> None:
    gate.flip(OWNER)
    _log.info("owner_paused" if gate.held_by(OWNER) else "owner_resumed", pid=os.getpid())

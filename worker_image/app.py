"""One worker process: the agent if an orchestrator is set, HTTP and gRPC if their ports are; all end together.

A first SIGTERM or SIGINT drains (see `Agent.stop`), a second one ends everything at once. Either way no engine and no
file of ours is left. SIGUSR1 pauses and resumes, for the machine's owner.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from gpulease.contract.agent import EngineOffer
from worker_image.agent import FIRST_CONTACT_S_MAX, Agent, Exit, Machine
from worker_image.deliver.delivery import delivery_of
from worker_image.deliver.destination import still_waiting
from worker_image.engines.registry import config_of, probe_all
from worker_image.execute import Executor
from worker_image.host.pool import HostPool
from worker_image.link import Link
from worker_image.local import LocalJobs
from worker_image.machine.fitness import Subject, examine, too_large
from worker_image.machine.gpu import Gpu, find_gpu
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.scratch import close_scratch, open_scratch
from worker_image.serving.gate import OWNER, Gate
from worker_image.serving.health import Health
from worker_image.serving.imds import URL_DEFAULT, Imds
from worker_image.serving.words import Talk, talk_as
from worker_image.settings import PORT_DEFAULT, PORT_OFF, Settings, visible_devices
from worker_image.slots import Slots

_STOPS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """What the parts of this process share. `stop` ends all of them; the owner holds the `gate`.

    `imds` is there on Salad only.
    """

    machine: Machine
    jobs: LocalJobs
    pool: HostPool
    gate: Gate
    stop: asyncio.Event
    imds: Imds | None = None


def main(settings: Settings, talk: Talk = "plain") -> int:
    """Runs a worker to its end and returns the exit code of its process."""
    talk_as(talk)
    code = asyncio.run(serve(settings))
    if still_waiting():
        sys.stderr.flush()
        os._exit(code)
    return code


async def serve(settings: Settings) -> int:
    """The same inside a running loop, whose main thread must be the process's."""
    scratch = open_scratch(settings.scratch)
    gate, imds = Gate(), _imds(settings)
    pool = HostPool(config_of(settings), scratch / "hosts")
    machine = _machine(settings, scratch, pool, gate)
    if imds is not None:
        machine.health.on_unfit = imds.reallocate
    fetcher = Fetcher(allow_hosts=settings.allow_private_hosts, bytes_max=settings.download_bytes_max)
    delivery = delivery_of(settings)
    jobs = LocalJobs(machine.executor, machine.slots, fetcher, scratch / "local", delivery)
    try:
        return await _serve(Running(machine, jobs, pool, gate, asyncio.Event(), imds))
    finally:
        await jobs.stop()
        await pool.close()
        await machine.health.aclose()
        if imds is not None:
            await imds.aclose()
        close_scratch(scratch)


def _imds(settings: Settings) -> Imds | None:
    return Imds(settings.salad_metadata_uri or URL_DEFAULT) if settings.on_salad else None


def _machine(settings: Settings, scratch: Path, pool: HostPool, gate: Gate) -> Machine:
    """What this machine is and can run. What the settings say of it wins over what is found."""
    gpu = find_gpu(visible_devices()) if settings.device != "cpu" else "GPULEASE_DEVICE is cpu"
    found = gpu if isinstance(gpu, Gpu) else None
    if found:
        about = {"gpu_class": found.gpu_class, "driver": found.driver, "cuda": found.cuda}
        _log.info("gpu", vram_gb=found.vram_gb, **about)
    vram_gb = settings.vram_gb if settings.vram_gb is not None else found.vram_gb if found else 0.0
    gpu_class = settings.gpu_class or (found.gpu_class if found else "cpu")
    offers = _offers(settings, vram_gb)
    subject = Subject(gpu, settings.device, scratch, frozenset(one.engine for one in offers))
    health = Health(lambda: examine(subject), gate)
    prefetched = Prefetched(scratch / "prefetched")
    executor = Executor(pool, offers, prefetched, gpu_class)
    executor.on_end = health.note
    parts = (settings, executor, prefetched, Slots(settings.capacity), scratch)
    return Machine(*parts, gpu_class, vram_gb, found, health, executor.tally)


def _offers(settings: Settings, vram_gb: float) -> tuple[EngineOffer, ...]:
    """What runs here and fits into the GPU, if there is one."""
    offers, reasons = probe_all(config_of(settings))
    for backend, reason in reasons.items():
        _log.info("not_offered", backend=backend, reason=reason)
    for one in offers:
        if too_large(one, vram_gb):
            _log.info("too_large", backend=one.backend, needs_gb=one.vram_gb, vram_gb=vram_gb)
    return tuple(one for one in offers if not too_large(one, vram_gb))


async def _serve(running: Running) -> int:
    with _signals(running):
        if not await _fit(running):
            return Exit.STOPPED if running.stop.is_set() else Exit.UNFIT
        parts = (_serve_agent(running), _serve_http(running), _serve_grpc(running))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            running.stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
    return max(done)


async def _fit(running: Running) -> bool:
    """Whether this machine may report for duty. On Salad, which restarts whoever exits, an unfit one waits to be
    moved.
    """
    settings = running.machine.settings
    while await running.machine.health.look():
        if not settings.on_salad or running.stop.is_set():
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.rest_s):
                await running.stop.wait()
    return not running.stop.is_set()


async def _serve_agent(running: Running) -> int:
    """One agent after the other where a worker that nobody wants rests, else one."""
    settings, stop = running.machine.settings, running.stop
    if not settings.orchestrator_url or not settings.worker_id:
        return Exit.STOPPED
    _log.info("connecting", url=settings.orchestrator_url, worker_id=settings.worker_id)
    on_busy, patience_s = _on_busy(running.imds), FIRST_CONTACT_S_MAX
    try:
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
    link.direct_for = running.jobs.delivery.direct_for
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


def _on_busy(imds: Imds | None) -> Callable[[bool], None]:
    """Who is to hear whether this worker is busy: on Salad its node, elsewhere nobody."""
    if imds is None:
        return lambda _: None
    imds.set_busy(False)
    return imds.set_busy


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

    offers, gpu = running.machine.executor.offers, running.machine.gpu
    return await serve_grpc(settings, running.jobs, offers, gpu, running.stop)


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

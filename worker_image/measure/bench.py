"""How long jobs take on this machine, engine by engine: loaded once, then the same job again and again."""

import asyncio
import math
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.targets import Target
from worker_image.engines.base import EngineConfig, Outcome
from worker_image.faults import Faulted, HostFault
from worker_image.host.log import JobLog
from worker_image.host.process import EngineProcess, Loaded
from worker_image.measure.materials import Material, Materials, Missing
from worker_image.measure.trial import LOAD_S_MAX, Candidate, candidates

JOB_S_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where is measured: what the machine is called, engines' settings, a folder, and prices by provider."""

    gpu_class: str
    vram_gb: float
    config: EngineConfig
    folder: Path
    usd_per_hour: dict[str, float]


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not measured, and why."""

    engine: str
    backend: str
    model: str | None
    reason: str


@dataclass(slots=True)
class _Run:
    """One engine and model under measurement."""

    engine: str
    backend: str
    model: str | None
    seconds: list[float]
    peak_vram_mib: float = 0.0
    peak_ram_kb: float = 0.0

    def note(self, seconds: float, outcome: Outcome) -> None:
        self.seconds.append(seconds)
        self.peak_vram_mib = max(self.peak_vram_mib, float(outcome.metrics.get("PEAK_VRAM_MIB", 0)))
        self.peak_ram_kb = max(self.peak_ram_kb, float(outcome.metrics.get("PEAK_RAM_KB", 0)))


OnStart = Callable[[str, str, str | None], None]


async def measure(
    site: Site, materials: Materials, engines: frozenset[str], jobs: int, on_start: OnStart
) -> AsyncIterator[Target | Skipped]:
    """Every model of each engine that runs here, or of those named, one after the other.

    With two jobs and more there is one before them that does not count: first jobs warm caches up.
    """
    for one in candidates(site.config, engines):
        if isinstance(one.offer, str):
            yield Skipped(one.engine, one.backend, None, one.offer)
            continue
        for model in _models(one.offer):
            on_start(one.engine, one.backend, model)
            yield await _measured(site, materials, one, model, jobs)


def _models(offer: EngineOffer) -> tuple[str | None, ...]:
    """Programs of `command` are as different as their jobs, so only a named job is measured, as itself."""
    return (None,) if offer.engine == "command" else offer.models or (None,)


async def _measured(
    site: Site, materials: Materials, one: Candidate, model: str | None, jobs: int
) -> Target | Skipped:
    place = site.folder / f"{one.backend}-{model or 'any'}".replace("/", "-")
    try:
        material = await materials.of(one.engine)
        async with asyncio.timeout(LOAD_S_MAX + (jobs + 1) * JOB_S_MAX):
            run = _Run(one.engine, one.backend, model, [])
            loaded = await _jobs(site, run, material, place, jobs)
        return _row(site, run, loaded, material)
    except (Faulted, Missing) as fault:
        return Skipped(one.engine, one.backend, model, str(fault))
    except TimeoutError:
        return Skipped(one.engine, one.backend, model, f"a job took more than {JOB_S_MAX:.0f} s")
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def _jobs(site: Site, run: _Run, material: Material, place: Path, jobs: int) -> Loaded:
    host = await EngineProcess.start(run.backend, site.config, place)
    try:
        loaded = await host.load(run.model, LOAD_S_MAX)
        if jobs > 1:
            await _once(host, run, material, place / "first")
        for number in range(jobs):
            seconds, outcome = await _once(host, run, material, place / f"job-{number}")
            run.note(seconds, outcome)
        return loaded
    finally:
        await host.end()


async def _once(host: EngineProcess, run: _Run, material: Material, folder: Path) -> tuple[float, Outcome]:
    job = await asyncio.to_thread(material.job, run.engine, run.model, folder)
    started = time.monotonic()
    outcome = await host.run(job, JobLog(host.log_path), lambda _: None)
    seconds = time.monotonic() - started
    if not outcome.files and not outcome.text:
        raise HostFault("nothing_made", "the job ended and made nothing")
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return seconds, outcome


def _row(site: Site, run: _Run, loaded: Loaded, material: Material) -> Target:
    jobs = len(run.seconds)
    return Target(
        gpu_class=site.gpu_class,
        vram_gb=site.vram_gb,
        engine=run.engine,
        model=loaded.model,
        backend=run.backend,
        service_s_p50=round(share_of(run.seconds, 0.5), 3),
        service_s_p95=round(share_of(run.seconds, 0.95), 3),
        load_s=loaded.load_s,
        peak_vram_mib=max(run.peak_vram_mib, loaded.peak_vram_mib),
        peak_ram_mib=round(max(run.peak_ram_kb, loaded.peak_ram_kb) / 1024, 1),
        usd_per_hour=site.usd_per_hour,
        jobs=jobs,
        measured_at=datetime.now(UTC).replace(microsecond=0),
        source=f"gpulease bench-gpu: {material.about}; {jobs} jobs, {os.cpu_count()} CPUs",
    )


def share_of(seconds: list[float], share: float) -> float:
    """The least measured value that this share of them does not exceed."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

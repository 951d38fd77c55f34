"""What can really run here: each backend that offers something is started and loads its model."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CATALOGUE
from worker_image.engines.base import EngineConfig
from worker_image.engines.registry import BACKENDS, make
from worker_image.faults import Faulted
from worker_image.host.log import JobLog
from worker_image.host.process import EngineProcess, Loaded
from worker_image.measure.materials import ADDRESS, Material, Missing, factory_scene

LOAD_S_MAX = 300.0
_SMALL_FRAME = {"width": 64, "height": 36, "engine": "CYCLES", "samples": 1}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend, and what it offers, or the reason why nothing."""

    engine: str
    backend: str
    offer: EngineOffer | str


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying a candidate. `problem` is None where it runs; `job_s` is of a small job, if one was run."""

    candidate: Candidate
    problem: str | None = None
    loaded: Loaded | None = None
    job_s: float | None = None


def candidates(config: EngineConfig, engines: frozenset[str] = frozenset()) -> Iterator[Candidate]:
    """All backends of these engines, or of all, in the order of the catalogue."""
    found = [_asked(name, config) for name in BACKENDS]
    for engine in CATALOGUE:
        yield from (one for one in found if one.engine == engine and engine in (engines or CATALOGUE))


def _asked(name: str, config: EngineConfig) -> Candidate:
    try:
        backend = make(name, config)
        return Candidate(backend.engine, name, backend.probe())
    except Exception as error:  # noqa: BLE001  Whatever a library does when it is asked, the others are shown.
        return Candidate(
            _engine_of(name), name, f"it broke when it was asked: {type(error).__name__}: {error}"
        )


def _engine_of(name: str) -> str:
    """As far as its name or its module tells, where the module itself does not."""
    words = {name, *BACKENDS[name].partition(":")[0].replace(".", "_").split("_")}
    return next((engine for engine in CATALOGUE if engine in words), name)


async def try_all(
    found: Iterable[Candidate], config: EngineConfig, folder: Path, on_start: Callable[[Candidate], None]
) -> AsyncIterator[Trial]:
    """Tries one after the other, so that each has the machine for itself. `on_start` hears of each that is loaded."""
    for number, one in enumerate(found):
        if isinstance(one.offer, str):
            yield Trial(one, problem=one.offer)
            continue
        on_start(one)
        place = folder / f"{number}-{one.backend}"
        try:
            yield await try_one(one, config, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)


async def try_one(candidate: Candidate, config: EngineConfig, folder: Path) -> Trial:
    """Loads it in a process of its own, which is ended. A renderer has nothing to load, and renders a frame."""
    try:
        host = await EngineProcess.start(candidate.backend, config, folder)
    except Faulted as fault:
        return Trial(candidate, problem=fault.message)
    try:
        loaded = await host.load(None, LOAD_S_MAX)
        job_s = await _render(host, config, folder) if candidate.engine == "blender" else None
        return Trial(candidate, loaded=loaded, job_s=job_s)
    except (Faulted, Missing) as fault:
        return Trial(candidate, problem=f"it does not load: {fault}")
    finally:
        await host.end()


async def _render(host: EngineProcess, config: EngineConfig, folder: Path) -> float:
    scene = await asyncio.to_thread(factory_scene, config, folder)
    material = Material({"file_url": ADDRESS, **_SMALL_FRAME}, {"file_url": scene}, "")
    started = time.monotonic()
    await host.run(material.job("blender", None, folder / "job"), JobLog(host.log_path), lambda _: None)
    return time.monotonic() - started

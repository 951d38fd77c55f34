"""Runs one piece of work on this worker: inputs in, an engine's process, an outcome out. Knows no orchestrator."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from gpulease.contract.agent import EngineOffer
from gpulease.contract.jobs import OutputFile, Phase
from gpulease.contract.plain import check_plain
from worker_image.engines.base import EngineJob, Outcome
from worker_image.engines.registry import choose
from worker_image.faults import Faulted, HostFault, InputFault
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool
from worker_image.host.process import Step
from worker_image.machine.tally import Tally
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched


@dataclass(frozen=True, slots=True)
class Work:
    """What to run. `inputs` maps URL fields of the input to where to fetch them; `folder` exists and is its own.

    `attempt` is 0 for work that no orchestrator gave.
    """

    id: str
    engine: str
    model: str | None
    input: dict[str, Any]
    folder: Path
    inputs: Mapping[str, str] = field(default_factory=dict)
    stalled_after_s: float = 300.0
    time_left_s: float = 7200.0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """An outcome, and the backend that made it. `stored` are files that lie where they belong already."""

    backend: str
    outcome: Outcome
    stored: tuple[OutputFile, ...] = ()


@dataclass(slots=True)
class Ears:
    """Whoever listens to a piece of work: its progress, and from the engine's start its log."""

    on_step: Callable[[Step], None]
    on_log: Callable[[JobLog], None] = lambda _: None


class Runs(Protocol):
    """Whatever an agent can run work on: engines here, or a machine elsewhere."""

    offers: tuple[EngineOffer, ...]

    def resident(self) -> tuple[str, ...]:
        """Models in memory, as engine/model."""
        ...

    async def run(self, work: Work, fetcher: Fetcher, ears: Ears) -> Made:
        """Runs it to its end; cancelling the caller takes the work back.

        Raises:
            Faulted: whose fault it was is in its kind.
        """
        ...


class Executor:
    """Runs work on the engines of this machine. `on_end` gets the code of each fault, and None for each success."""

    def __init__(
        self, pool: HostPool, offers: tuple[EngineOffer, ...], prefetched: Prefetched, gpu_class: str
    ) -> None:
        self._pool = pool
        self._prefetched = prefetched
        self._gpu_class = gpu_class
        self.offers = offers
        self.tally = Tally()
        self.on_end: Callable[[str | None], None] = lambda _: None

    def resident(self) -> tuple[str, ...]:
        return self._pool.resident()

    async def run(self, work: Work, fetcher: Fetcher, ears: Ears) -> Made:
        """Runs it to its end; cancelling the caller stops the engine.

        Raises:
            Faulted: whose fault it was is in its kind.
        """
        offer = offer_for(work, self.offers)
        with self._counted(work, ears) as heard:
            making = self._run(work, offer, fetcher, heard)
            made = await within_its_time(work, making, self._gpu_class)
            self.tally.bytes_out += _sizes(one.path for one in made.outcome.files)
            return made

    @contextlib.contextmanager
    def _counted(self, work: Work, ears: Ears) -> Iterator[Ears]:
        """Counts how it ends, and how long each phase took."""
        watch, end, code = _PhaseWatch(self.tally, work.engine, ears), "cancelled", None
        try:
            yield Ears(watch.note, ears.on_log)
            end = "succeeded"
        except Faulted as fault:
            code, end = fault.code, f"{fault.kind}_fault"
            raise
        except asyncio.CancelledError:
            raise
        except Exception:
            code, end = "engine_failed", "host_fault"
            raise
        finally:
            watch.close()
            self.tally.jobs[work.engine, end] += 1
            if end != "cancelled":
                self.on_end(code)

    async def _run(self, work: Work, offer: EngineOffer, fetcher: Fetcher, ears: Ears) -> Made:
        files = await fetch_inputs(work, fetcher, self._prefetched, ears)
        self.tally.bytes_in += _sizes(files.values())
        job = EngineJob(work.id, work.engine, work.model, work.input, files, str(work.folder))
        async with self._pool.lease(offer.engine, offer.backend, work.model) as host:
            log = JobLog(host.log_path)
            ears.on_log(log)
            try:
                async with unless_stalled(work, ears, log) as on_step:
                    return Made(offer.backend, await host.run(job, log, on_step))
            finally:
                log.close()


class _PhaseWatch:
    """Tells steps on, and notes how long each phase lasted."""

    def __init__(self, tally: Tally, engine: str, ears: Ears) -> None:
        self._tally = tally
        self._engine = engine
        self._ears = ears
        self._phase: Phase | None = None
        self._since = 0.0

    def note(self, step: Step) -> None:
        if step.phase != self._phase:
            self.close()
            self._phase, self._since = step.phase, time.monotonic()
        self._ears.on_step(step)

    def close(self) -> None:
        if self._phase is not None:
            self._tally.note_phase(self._engine, self._phase, time.monotonic() - self._since)


def _sizes(paths: Iterable[str]) -> int:
    return sum(Path(path).stat().st_size for path in paths)


def offer_for(work: Work, offers: tuple[EngineOffer, ...]) -> EngineOffer:
    offer = choose(offers, work.engine, work.model)
    if offer is None:
        raise HostFault("engine_missing", f"This worker cannot run {work.engine} {work.model or ''}".rstrip())
    return offer


async def within_its_time(work: Work, making: Awaitable[Made], gpu_class: str) -> Made:
    """Awaits it for `time_left_s` at most, and notes how long it took."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(work.time_left_s):
            made = await making
    except TimeoutError as error:
        raise InputFault("timed_out", "The job ran past its max_time and was stopped.") from error
    _check_words(made.outcome)
    wall_s = round(time.monotonic() - started, 3)
    own: dict[str, float | int | str] = {"SCRIPT_WALL_TIME_SEC": wall_s, "gpu_class": gpu_class}
    return replace(made, outcome=replace(made.outcome, metrics={**made.outcome.metrics, **own}))


def _check_words(outcome: Outcome) -> None:
    """What a backend says of its result must reach those who asked for it."""
    try:
        check_plain((outcome.text, outcome.data))
    except ValueError as error:
        why = f"What the engine says of its result cannot be passed on: {error}"
        raise HostFault("result_unreadable", why) from error


@contextlib.asynccontextmanager
async def unless_stalled(work: Work, ears: Ears, log: JobLog) -> AsyncIterator[Callable[[Step], None]]:
    """Gives what takes the steps; when there are none for `stalled_after_s`, that is the host's fault."""
    stall = asyncio.timeout(work.stalled_after_s)
    clock = asyncio.get_running_loop()

    def on_step(step: Step) -> None:
        stall.reschedule(clock.time() + work.stalled_after_s)
        ears.on_step(step)

    try:
        async with stall:
            yield on_step
    except TimeoutError as error:
        if not stall.expired():
            raise
        why = f"No progress for {work.stalled_after_s:.0f} s.\n{log.last_lines()}"
        raise HostFault("stalled", why) from error


async def fetch_inputs(work: Work, fetcher: Fetcher, prefetched: Prefetched, ears: Ears) -> dict[str, str]:
    """Inputs as files with fixed names; the fields' names are the catalogue's, and the numbers make them safe."""
    ears.on_step(Step(Phase.PREPARING, 0.0, "fetching inputs" if work.inputs else None))
    files = {}
    for number, (name, url) in enumerate(work.inputs.items()):
        path = work.folder / f"input-{number}"
        if not await prefetched.take(work.id, name, path):
            await _fetch(name, url, path, fetcher)
        files[name] = str(path)
    return files


async def _fetch(name: str, url: str, path: Path, fetcher: Fetcher) -> None:
    """A fault of the URL names the input."""
    try:
        await fetcher.fetch(url, path)
    except InputFault as fault:
        raise InputFault(fault.code, f"{name}: {fault.message}") from fault

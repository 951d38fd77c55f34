"""Runs work on a machine elsewhere: inputs in, a call there, an outcome out.

Many machines cannot take a call back. So a slot stays taken for as long as the machine may still be at work, and a
machine that does not come to an end, or to its senses, is given up.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from gpulease.contract.agent import EngineOffer
from gpulease.contract.jobs import Phase
from worker_image.engines.base import Report
from worker_image.execute import (
    Ears,
    Made,
    Work,
    fetch_inputs,
    offer_for,
    unless_stalled,
    within_its_time,
)
from worker_image.faults import HostFault, from_exception
from worker_image.host.log import JobLog
from worker_image.host.process import Step
from worker_image.hosted.remote import Node, RemoteBackend, RemoteJob
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.slots import Slots

LINGER_S_MAX = 120.0
LOOK_AGAIN_S = 5.0
GOODBYE_S = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call that was taken back may go on, and how often a machine at fault is looked at."""

    linger_s_max: float = LINGER_S_MAX
    look_again_s: float = LOOK_AGAIN_S


@dataclass(frozen=True, slots=True)
class Desk:
    """What it shares with its agent."""

    slots: Slots
    prefetched: Prefetched
    gpu_class: str


class RemoteExecutor:
    """`given_up` is set when the machine should be exchanged for another."""

    def __init__(
        self,
        node: Node,
        offers: tuple[EngineOffer, ...],
        desk: Desk,
        patience: Patience | None = None,
    ) -> None:
        self.offers = offers
        self.given_up = asyncio.Event()
        self._node = node
        self._backends = {backend.name: backend for backend in node.backends}
        self._desk = desk
        self._patience = patience or Patience()
        self._rests: set[asyncio.Task[None]] = set()

    def resident(self) -> tuple[str, ...]:
        return ()

    async def run(self, work: Work, fetcher: Fetcher, ears: Ears) -> Made:
        """Runs it to its end. When the caller is cancelled, the machine is asked to stop, in the background.

        Raises:
            Faulted: whose fault it was is in its kind.
        """
        backend = self._backends[offer_for(work, self.offers).backend]
        return await within_its_time(work, self._run(work, backend, fetcher, ears), self._desk.gpu_class)

    async def aclose(self) -> None:
        """Calls that were taken back get a moment to be stopped; then they are left alone."""
        if self._rests:
            await asyncio.wait(self._rests, timeout=GOODBYE_S)
        for rest in self._rests:
            rest.cancel()
        await asyncio.gather(*self._rests, return_exceptions=True)

    async def _run(self, work: Work, backend: RemoteBackend, fetcher: Fetcher, ears: Ears) -> Made:
        files = await fetch_inputs(work, fetcher, self._desk.prefetched, ears) if backend.fetches else {}
        own = (work.id, work.engine, work.model, work.input, files, str(work.folder))
        job = RemoteJob(*own, attempt=work.attempt, inputs=work.inputs)
        path = work.folder / "log"
        path.touch()
        log = JobLog(path)
        ears.on_log(log)
        async with unless_stalled(work, ears, log) as on_step:
            said = Said(path, on_step)
            try:
                return await self._call(backend, job, said)
            finally:
                said.mute()

    async def _call(self, backend: RemoteBackend, job: RemoteJob, report: Report) -> Made:
        started = time.monotonic()
        call = asyncio.create_task(backend.run(job, report))
        try:
            made = await asyncio.shield(call)
        except asyncio.CancelledError:
            self._rest(self._linger(backend, job.attempt, call))
            raise
        except Exception as error:
            fault = from_exception(error)
            if isinstance(fault, HostFault):
                self._rest(self._until_well())
            raise fault from error
        metrics = {"GENERATION_TIME_SEC": round(time.monotonic() - started, 3), **made.outcome.metrics}
        return replace(made, outcome=replace(made.outcome, metrics=metrics))

    def _rest(self, rest: Coroutine[Any, Any, None]) -> None:
        """The slot of the attempt stays taken until that is over."""
        self._desk.slots.keep()
        task = asyncio.create_task(rest)
        self._rests.add(task)
        task.add_done_callback(self._rests.discard)

    async def _linger(self, backend: RemoteBackend, attempt: int, call: asyncio.Task[Made]) -> None:
        try:
            async with asyncio.timeout(self._patience.linger_s_max):
                with contextlib.suppress(Exception):  # What stop could not do, the call's own end does.
                    await backend.stop(attempt)
                await asyncio.wait({call})
        except TimeoutError:
            _log.warning("call_goes_on", attempt=attempt, after_s=self._patience.linger_s_max)
            self.given_up.set()
            return
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await self._until_well()

    async def _until_well(self) -> None:
        while True:
            if await self._node.answers():
                self._desk.slots.give()
                return
            await asyncio.sleep(self._patience.look_again_s)


class Said:
    """Takes a backend's reports, and keeps them as the job's log. Muted, it tells nobody."""

    def __init__(self, path: Path, on_step: Callable[[Step], None]) -> None:
        self._path = path
        self._on_step = on_step
        self._muted = False
        self._last: Step | None = None

    def mute(self) -> None:
        self._muted = True

    def __call__(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        said = Step(phase, share, message, step, total_steps)
        if self._muted or said == self._last:
            return
        self._last = said
        if message:
            with self._path.open("a", encoding="utf-8") as log:
                log.write(f"{phase}: {message}\n")
        self._on_step(said)

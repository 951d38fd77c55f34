"""One attempt, from its assignment to its finish report. Its folder goes with it, whatever happens."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from gpulease.contract.agent import Assignment, FinishReport
from gpulease.contract.jobs import Fault, Phase, Result
from worker_image.execute import Ears, Made, Runs, Work
from worker_image.faults import from_exception
from worker_image.host.process import Step
from worker_image.link import Link, LinkError, Rejected, patiently
from worker_image.media.fetch import Fetcher
from worker_image.report import Reporter
from worker_image.upload import upload

TIME_MARGIN_S = 10.0
"""The orchestrator ends what is over its time; only when it does not, we do."""

STOP_PATIENCE_S = 2.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What every attempt of one agent shares."""

    link: Link
    executor: Runs
    fetcher: Fetcher
    incarnation: str
    folder: Path
    finish_patience_s: float


class Attempt:
    """`slot_free` is called once, as soon as nothing but uploading is left."""

    def __init__(self, assignment: Assignment, tools: Tools, slot_free: Callable[[], None]) -> None:
        self.id = assignment.attempt
        self._assignment = assignment
        self._tools = tools
        self._slot_free = slot_free
        self._holds_slot = True
        self._reporter = Reporter(tools.link, self.id, tools.incarnation)
        self._work: asyncio.Task[Result] | None = None
        self._stop_fault: Fault | None = None
        self._taken_back = False

    async def run(self) -> str:
        """Runs to the end and reports how it ended, unless the attempt was taken back. Returns it in words."""
        folder = self._tools.folder / str(self.id)
        helpers = [asyncio.create_task(self._reporter.run()), asyncio.create_task(self._until_stale())]
        self._work = asyncio.create_task(self._whole(folder))
        try:
            await asyncio.wait({self._work})
            await self._reporter.flush()
            return await self._finish(self._work)
        finally:
            for task in (*helpers, self._work):
                task.cancel()
            self._release()
            await asyncio.gather(*helpers, self._work, return_exceptions=True)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def take_back(self) -> None:
        """The orchestrator does not want it any more: the engine stops, and nothing is reported."""
        if self._taken_back:
            return
        self._taken_back = True
        if self._work is not None:
            self._work.cancel()

    def stop(self, fault: Fault) -> None:
        """This worker cannot go on: the engine stops, and the fault is reported."""
        if self._taken_back or self._stop_fault:
            return
        self._stop_fault = fault
        if self._work is not None:
            self._work.cancel()

    async def _until_stale(self) -> None:
        await self._reporter.stale.wait()
        self.take_back()

    async def _whole(self, folder: Path) -> Result:
        folder.mkdir(parents=True)  # noqa: ASYNC240  A new folder on the local disk.
        if self._taken_back or self._stop_fault:
            raise asyncio.CancelledError
        ears = Ears(self._reporter.note, self._reporter.note_log)
        made = await self._tools.executor.run(self._as_work(folder), self._tools.fetcher, ears)
        self._reporter.note(Step(Phase.UPLOADING, 0.0))
        await self._reporter.flush()
        self._release()
        return await self._store(made)

    def _as_work(self, folder: Path) -> Work:
        said = self._assignment
        return Work(
            id=said.job_id,
            engine=said.engine,
            model=said.model,
            input=said.input,
            folder=folder,
            inputs=said.inputs,
            stalled_after_s=said.stalled_after_s,
            time_left_s=said.time_left_s + TIME_MARGIN_S,
            attempt=said.attempt,
        )

    async def _store(self, made: Made) -> Result:
        stored = []
        for number, file in enumerate(made.outcome.files):
            stored.append(
                await upload(
                    self._tools.link,
                    self.id,
                    self._tools.incarnation,
                    file,
                    for_s=self._tools.finish_patience_s,
                )
            )
            self._reporter.note(Step(Phase.UPLOADING, (number + 1) / len(made.outcome.files)))
        outcome = made.outcome
        return Result(
            backend=made.backend,
            model=outcome.model,
            text=outcome.text,
            data=outcome.data,
            files=(*stored, *made.stored),
            metrics=outcome.metrics,
            ignored=outcome.ignored,
        )

    async def _finish(self, work: asyncio.Task[Result]) -> str:
        report = self._finish_report(work)
        if report is None:
            return "taken back" if self._taken_back else "dropped"
        link = self._tools.link
        for_s = STOP_PATIENCE_S if self._stop_fault else self._tools.finish_patience_s
        try:
            await patiently(lambda: link.finish(self.id, report), for_s=for_s)
        except Rejected as error:
            fault = Fault(kind="host", code="result_refused", message=str(error))
            refused = FinishReport(incarnation=report.incarnation, fault=fault)
            with contextlib.suppress(LinkError):
                await link.finish(self.id, refused)
            return "its result was refused"
        except LinkError as error:
            _log.warning("finish_failed", attempt=self.id, error=str(error))
            return "its report was lost"
        if report.fault is None:
            return "succeeded"
        return "handed back" if self._stop_fault else f"failed: {report.fault.message}"

    def _finish_report(self, work: asyncio.Task[Result]) -> FinishReport | None:
        """What to say, or nothing where nobody would listen."""
        incarnation = self._tools.incarnation
        if self._taken_back:
            return None
        if work.cancelled():
            fault = self._stop_fault or Fault(
                kind="host", code="worker_stopped", message="The worker stopped."
            )
            return FinishReport(incarnation=incarnation, fault=fault)
        error = work.exception()
        if error is None:
            return FinishReport(incarnation=incarnation, result=work.result())
        if isinstance(error, LinkError):
            _log.warning("attempt_dropped", attempt=self.id, error=str(error))
            return None
        fault = from_exception(error if isinstance(error, Exception) else RuntimeError(str(error))).wire()
        _log.warning("attempt_failed", attempt=self.id, code=fault.code, message=fault.message)
        return FinishReport(incarnation=incarnation, fault=fault)

    def _release(self) -> None:
        if self._holds_slot:
            self._holds_slot = False
            self._slot_free()

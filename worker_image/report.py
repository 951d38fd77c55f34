"""Progress and logs of one attempt on their way to the orchestrator: few calls, in order, phases at once."""

import asyncio
import contextlib

import structlog

from gpulease.contract.agent import LogChunk, ProgressReport
from gpulease.contract.jobs import Phase
from worker_image.host.log import JobLog
from worker_image.host.process import Step
from worker_image.link import Link, LinkError, Stale

CALLS_APART_S = 0.5
LOG_PIECE_BYTES = 20 * 1024
_MESSAGE_LETTERS_MAX = 500
_SPANS = {
    Phase.PREPARING: (0.0, 0.05),
    Phase.INFERRING: (0.05, 0.9),
    Phase.ENCODING: (0.9, 0.95),
    Phase.UPLOADING: (0.95, 1.0),
    Phase.COMPLETED: (1.0, 1.0),
}

_log = structlog.get_logger()


class Reporter:
    """Sends the newest progress twice a second at most, a new phase at once, and the log beside it.

    `stale` is set when the orchestrator says that the attempt is not ours any more.
    """

    def __init__(self, link: Link, attempt: int, incarnation: str) -> None:
        self._link = link
        self._attempt = attempt
        self._incarnation = incarnation
        self._newest: ProgressReport | None = None
        self._phase: Phase | None = None
        self._share = 0.0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._sending = asyncio.Lock()
        self._log: JobLog | None = None
        self._log_rest = ""
        self._log_at = 0
        self.stale = asyncio.Event()

    def note(self, step: Step) -> None:
        low, high = _SPANS[step.phase]
        self._share = max(self._share, low + (high - low) * min(max(step.share, 0.0), 1.0))
        self._newest = ProgressReport(
            incarnation=self._incarnation,
            phase=step.phase,
            progress=self._share,
            message=step.message[:_MESSAGE_LETTERS_MAX] if step.message else None,
            step=step.step,
            total_steps=step.total_steps,
            gpu_util=step.gpu_util,
        )
        self._wake.set()
        if step.phase != self._phase:
            self._phase = step.phase
            self._hurry.set()

    def note_log(self, log: JobLog) -> None:
        self._log = log

    async def run(self) -> None:
        """Sends until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * CALLS_APART_S):
                    await self._wake.wait()
            self._wake.clear()
            self._hurry.clear()
            await self.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CALLS_APART_S):
                    await self._hurry.wait()

    async def flush(self) -> None:
        """Sends what is new. What cannot be sent now is overtaken by what comes later."""
        async with self._sending:
            newest, self._newest = self._newest, None
            try:
                if newest is not None:
                    await self._link.progress(self._attempt, newest)
                await self._send_log()
            except Stale:
                self.stale.set()
            except LinkError as error:
                _log.warning("report_failed", attempt=self._attempt, error=str(error))

    async def _send_log(self) -> None:
        """A piece counts as sent when it was answered; a repeated piece is kept once, by its offset."""
        while piece := self._log_rest or (self._log.read(LOG_PIECE_BYTES) if self._log else ""):
            self._log_rest = piece
            chunk = LogChunk(incarnation=self._incarnation, offset=self._log_at, text=piece)
            await self._link.logs(self._attempt, chunk)
            self._log_at += len(piece.encode())
            self._log_rest = ""

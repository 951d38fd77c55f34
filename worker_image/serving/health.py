"""Whether this machine may take work: after GPU faults in a row it is looked at again, and rests while it is unfit."""

import asyncio
import time
from collections.abc import Callable

import structlog

from worker_image.faults import GPU_CODES
from worker_image.machine.fitness import Finding, unfit
from worker_image.serving.gate import UNFIT, Gate

GPU_FAULTS_MAX = 2
LOOK_AGAIN_S = 30.0

_log = structlog.get_logger()


def _nothing_found() -> tuple[Finding, ...]:
    return ()


class Health:
    """`examine` blocks, and so runs on a thread. `error` says why no work is taken, if so.

    `on_unfit` gets that reason at each look that finds the machine unfit.
    """

    def __init__(
        self, examine: Callable[[], tuple[Finding, ...]] = _nothing_found, gate: Gate | None = None
    ) -> None:
        self._examine = examine
        self._gate = gate or Gate()
        self._faults = 0
        self._looking: asyncio.Task[None] | None = None
        self.look_again_s = LOOK_AGAIN_S
        self.error: str | None = None
        self.on_unfit: Callable[[str], None] = lambda _: None

    async def look(self) -> str | None:
        """Why the machine is unfit now, or None; what it says holds until the next look.

        A machine that cannot even be examined is unfit, and is looked at again like any other.
        """
        started = time.perf_counter()
        try:
            findings = await asyncio.to_thread(self._examine)
        except Exception as error:  # noqa: BLE001  Whatever it is, it must not end the looking.
            _log.exception("examination_failed")
            findings = (Finding("examination", ok=False, detail=f"{type(error).__name__}: {error}"),)
        reason = unfit(findings)
        for one in findings:
            _log.debug("looked_at", what=one.name, ok=one.ok, detail=one.detail)
        if reason:
            self.on_unfit(reason)
        if reason and not self.error:
            _log.error("unfit", reason=reason, took_s=round(time.perf_counter() - started, 3))
        elif self.error and not reason:
            _log.info("fit_again")
        self.error = reason
        self._gate.hold(UNFIT, held=reason is not None)
        return reason

    def note(self, code: str | None) -> None:
        """A job ended with that fault, or with none. Two faults of the GPU in a row put the machine in doubt."""
        self._faults = self._faults + 1 if code in GPU_CODES else 0
        if self._faults >= GPU_FAULTS_MAX:
            self._faults = 0
            self.doubt()

    def doubt(self) -> None:
        """No work is taken until it was looked at, and then as long as it is unfit."""
        self._gate.hold(UNFIT)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._until_fit())

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _until_fit(self) -> None:
        reason = await self.look()
        while reason:
            await asyncio.sleep(self.look_again_s)
            reason = await self.look()

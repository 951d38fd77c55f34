"""`portrait` and `comfyui` by a ComfyUI server that the operator named."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from gpulease.contract.agent import EngineOffer
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.offers import SONIC, find_sonic
from worker_image.engines.comfyui.portrait import make_portrait, media_programs
from worker_image.engines.comfyui.workflow import run_workflow
from worker_image.faults import HostFault, InputFault

PROBE_S_MAX = 4.0
FREE_S_MAX = 2.0
TICK_S = 0.25
_UNSET = "no ComfyUI is configured: name its address in GPULEASE_COMFYUI_URL"

Result = TypeVar("Result")
Making = Callable[[ComfyUI, EngineJob, Report], Coroutine[Any, Any, Outcome]]


class _OnServer:
    """What both have in common. The models are the server's to keep between jobs."""

    def __init__(self, config: EngineConfig) -> None:
        self._url = config.comfyui_url
        self._used = False

    def unload(self) -> None:
        """Frees the server's memory, if it was of use; when it is not to be reached, there is nothing to free."""
        if self._used:
            self._used = False
            self._asked(lambda server: server.free(), FREE_S_MAX)

    def _made(self, making: Making, job: EngineJob, report: Report) -> Outcome:
        repeating = Repeating(report)
        self._used = True
        return asyncio.run(
            self._with_server(lambda server: ticking(making(server, job, repeating), repeating))
        )

    def _asked(self, ask: Callable[[ComfyUI], Awaitable[Result]], within_s: float) -> Result | str:
        """The answer, or why there is none."""
        if not self._url:
            return _UNSET
        try:
            return asyncio.run(_within(within_s, self._with_server(ask)))
        except (HostFault, TimeoutError, ValueError) as error:
            return f"ComfyUI at {self._url} does not answer: {str(error) or 'it takes too long'}"

    async def _with_server(self, ask: Callable[[ComfyUI], Awaitable[Result]]) -> Result:
        if not self._url:
            raise HostFault("engine_missing", _UNSET)
        async with aclosing(ComfyUI(self._url)) as server:
            return await ask(server)


class Sonic(_OnServer):
    name = "sonic"
    engine = "portrait"

    def probe(self) -> EngineOffer | str:
        if missing := media_programs():
            return missing
        match self._asked(find_sonic, PROBE_S_MAX):
            case str() as reason:
                return reason
            case found:
                return EngineOffer(
                    engine=self.engine, backend=self.name, models=(SONIC,), vram_gb=found.vram_gb
                )

    def load(self, model: str | None) -> str:
        return known(model)

    def run(self, job: EngineJob, report: Report) -> Outcome:
        return self._made(make_portrait, job, report)


class Workflows(_OnServer):
    name = "comfyui"
    engine = "comfyui"

    def probe(self) -> EngineOffer | str:
        match self._asked(lambda server: server.device(), PROBE_S_MAX):
            case str() as reason:
                return reason
            case device:
                return EngineOffer(engine=self.engine, backend=self.name, vram_gb=device.vram_gb)

    def load(self, model: str | None) -> None:
        """Its models are the workflow's."""

    def run(self, job: EngineJob, report: Report) -> Outcome:
        return self._made(run_workflow, job, report)


def known(model: str | None) -> str:
    if model not in (None, SONIC):
        raise InputFault("model_unknown", f"portrait by ComfyUI has the model {SONIC!r} only, not {model!r}")
    return SONIC


async def _within(seconds: float, asking: Awaitable[Result]) -> Result:
    async with asyncio.timeout(seconds):
        return await asking


class Repeating:
    """A report that can be made once more. A repeated one is no progress."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last: tuple[float, str | None] = (0.0, None)
        self._more: dict[str, Any] = {"phase": Phase.PREPARING}

    def __call__(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        self._last = (share, message)
        self._more = {"phase": phase, "step": step, "total_steps": total_steps}
        self.again()

    def again(self) -> None:
        self._report(*self._last, **self._more)


async def ticking(making: Coroutine[Any, Any, Result], report: Repeating) -> Result:
    """Awaits it. When the report raises, it is cancelled, and has ended before that goes on."""
    task = asyncio.create_task(making)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=TICK_S)
            report.again()
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

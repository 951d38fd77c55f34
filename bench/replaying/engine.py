"""An engine that sleeps: for a load, where the model is not in memory, and then as long as the job says."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpulease.contract.agent import EngineOffer
from gpulease.contract.hosts import Duty
from gpulease.contract.jobs import Phase
from scaling.simulate.log import Log
from scaling.simulate.trace import Arrival
from worker_image.engines.base import Outcome
from worker_image.execute import Ears, Made, Work, within_its_time
from worker_image.host.process import Step
from worker_image.media.fetch import Fetcher

ENGINE = "csm"
"""The one of Comput3's engines that takes any name as its model; its longest sound is how long it sleeps."""
WARM_UP = "comfyui"
REPORT_S = 10.0


@dataclass(slots=True)
class Runs:
    """When the service of each row began last, and ended; monotonic seconds. `done` is set when all `jobs` have.

    What happens is logged as the simulator does, in seconds since `since_s`.
    """

    jobs: int
    log: Log
    since_s: float = 0.0
    began: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    loads: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, what: str, **facts: object) -> None:
        self.log({"e": what, "t": round(time.monotonic() - self.since_s, 6), **facts})

    def end(self, row: int, node: int, now_s: float) -> None:
        self.note("finish", job=row, node=node)
        self.ended[row] = now_s
        if len(self.ended) == self.jobs:
            self.done.set()


def offers_of(models: tuple[str, ...]) -> tuple[EngineOffer, ...]:
    return (
        EngineOffer(engine=ENGINE, backend="csm-gradio", models=models, features=("clone",)),
        EngineOffer(engine=WARM_UP, backend="comfyui-node"),
    )


def asked_of(arrival: Arrival) -> dict[str, object]:
    """The body of its job."""
    asked = {
        "text": str(arrival.row),
        "model": arrival.model,
        "max_audio_length": max(1, round(arrival.service_s * 1000)),
    }
    limits = {"max_time": int(arrival.need.max_time_s), "complete_in": 86_400}
    return {"engine": ENGINE, "input": asked, **limits}


class SleepingEngine:
    """What an agent runs work on. One model is in memory at a time."""

    def __init__(self, models: tuple[str, ...], duty: Duty, node: int, load_s: float, runs: Runs) -> None:
        self.offers = offers_of(models)
        self._gpu_class = duty.gpu_class
        self._node = node
        self._load_s = load_s
        self._runs = runs
        self._model: str | None = None

    def resident(self) -> tuple[str, ...]:
        return (f"{ENGINE}/{self._model}",) if self._model else ()

    async def run(self, work: Work, fetcher: Fetcher, ears: Ears) -> Made:  # noqa: ARG002  It has no inputs.
        ears.on_step(Step(Phase.PREPARING, 0.0))
        if work.engine == WARM_UP:
            return Made(WARM_UP, Outcome())
        return await within_its_time(work, self._run(work, ears.on_step), self._gpu_class)

    async def _run(self, work: Work, on_step: Callable[[Step], None]) -> Made:
        row, service_s = int(work.input["text"]), work.input["max_audio_length"] / 1000
        started = time.monotonic()
        loads = self._model != work.model
        self._runs.note("start", job=row, node=self._node, switch_s=self._load_s if loads else 0.0)
        if loads:
            self._runs.loads += 1
            await asyncio.sleep(self._load_s)
            self._model = work.model
        self._runs.began[row] = loaded = time.monotonic()
        await _sleep(service_s, on_step)
        ended = time.monotonic()
        self._runs.end(row, self._node, ended)
        metrics = {
            "GENERATION_TIME_SEC": round(ended - loaded, 3),
            "MODEL_LOAD_SEC": round(loaded - started, 3),
        }
        return Made("csm-gradio", Outcome(model=work.model, metrics=metrics))


async def _sleep(seconds: float, on_step: Callable[[Step], None]) -> None:
    """Shows progress now and then, without which a long job counts as stalled."""
    left_s = seconds
    while left_s > 0:
        on_step(Step(Phase.INFERRING, 1.0 - left_s / seconds))
        part_s = min(left_s, REPORT_S)
        await asyncio.sleep(part_s)
        left_s -= part_s

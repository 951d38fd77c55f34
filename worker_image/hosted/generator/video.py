"""`video` on a machine elsewhere that speaks gRPC, through a folder that both sides see."""

import asyncio
import shutil
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import VideoInput
from gpulease.contract.jobs import Phase
from provider_clients.static import StaticMachine
from worker_image.engines.base import Report
from worker_image.engines.video.found import Place, fetched
from worker_image.engines.video.generator import Driver, Order
from worker_image.engines.video.remote import outcome_of
from worker_image.engines.video.target import Line
from worker_image.execute import Made
from worker_image.faults import Cancelled
from worker_image.hosted.remote import RemoteJob

ENGINE = "video"


class GeneratorVideo:
    name = "grpc"
    fetches = True

    def __init__(self, machine: StaticMachine, line: Line) -> None:
        self._machine = machine
        self._line = line
        self._taken_back: set[int] = set()
        self._models = tuple(
            part.strip() for part in machine.engines.get(ENGINE, "").split(",") if part.strip()
        )

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        if reason := unusable(self._machine):
            return reason
        reason = await self._line.why_not()
        return reason or (EngineOffer(engine=ENGINE, backend=self.name, models=self._models),)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        model = job.model or next(iter(self._models), None)
        place = place_of(self._machine, f"{job.id}-{job.attempt}")
        order = Order(place.here.name, model, VideoInput.model_validate(job.input), place)
        try:
            await asyncio.to_thread(_begin, place.here)
            delivered = await Driver(self._line).make(order, self._unless_taken_back(job.attempt, report))
            report(0.0, "checking the video", phase=Phase.ENCODING)
            found = await asyncio.to_thread(fetched, delivered.told, place, job.out)
        finally:
            self._taken_back.discard(job.attempt)
            await asyncio.to_thread(shutil.rmtree, place.here, ignore_errors=True)
        return Made(self.name, outcome_of(model, delivered, found))

    async def stop(self, attempt: int) -> None:
        """Its run notices within half a second, and asks for the end of the job there."""
        self._taken_back.add(attempt)

    def _unless_taken_back(self, attempt: int, report: Report) -> Report:
        def told(
            share: float,
            message: str | None = None,
            *,
            phase: Phase = Phase.INFERRING,
            step: int | None = None,
            total_steps: int | None = None,
        ) -> None:
            if attempt in self._taken_back:
                raise Cancelled
            report(share, message, phase=phase, step=step, total_steps=total_steps)

        return told


def place_of(machine: StaticMachine, name: str) -> Place:
    return Place(Path(str(machine.shared_here)) / name, f"{str(machine.shared_there).rstrip('/')}/{name}")


def unusable(machine: StaticMachine) -> str | None:
    """Why no video can be asked for there, whatever it says."""
    if ENGINE not in machine.engines:
        return f"{machine.name} speaks gRPC and is listed without an engine {ENGINE}"
    if machine.shared_here is None or machine.shared_there is None:
        return f"{machine.name} has no folder that both sides see (shared_here, shared_there)"
    if not Path(machine.shared_here).is_dir():
        return f"shared_here of {machine.name} is no folder: {machine.shared_here}"
    return None


def _begin(folder: Path) -> None:
    """What an attempt of the same number once left there is of nobody any more. The machine may be another user."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o777)

"""`video` by a worker that speaks gRPC and sees a folder of this machine: beside it, in its pod, on its volume."""

import asyncio
import shutil
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import VideoInput
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.engines.video.found import Found, Place, fetched
from worker_image.engines.video.generator import Delivered, Driver, Order
from worker_image.engines.video.target import Line, Target, asked
from worker_image.faults import HostFault


class GrpcVideo:
    name = "grpc"
    engine = "video"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    def probe(self) -> EngineOffer | str:
        target = target_of(self._config)
        if target is None:
            return "no video worker is set (GPULEASE_VIDEO_GRPC, as host:port)"
        scratch = self._config.video_grpc_scratch
        if scratch and not Path(scratch).is_dir():
            return f"GPULEASE_VIDEO_GRPC_SCRATCH is no folder: {scratch}"
        try:
            reason = asked(target).why_not(target.name)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        models = self._config.video_grpc_models
        return reason or EngineOffer(engine=self.engine, backend=self.name, models=models)

    def load(self, model: str | None) -> str | None:
        """The worker there loads it, at the first job."""
        return model or next(iter(self._config.video_grpc_models), None)

    def unload(self) -> None:
        pass

    def run(self, job: EngineJob, report: Report) -> Outcome:
        model = self.load(job.model)
        place = self._place(job)
        order = Order(place.here.name, model, VideoInput.model_validate(job.input), place)
        try:
            delivered = asyncio.run(self._make(order, report))
            found = fetched(delivered.told, place, job.out)
        finally:
            shutil.rmtree(place.here, ignore_errors=True)
        return outcome_of(model, delivered, found)

    async def _make(self, order: Order, report: Report) -> Delivered:
        target = target_of(self._config)
        if target is None:
            raise HostFault("generator_unset", "no video worker is set any more")
        async with Line(target) as line:
            return await Driver(line).make(order, report)

    def _place(self, job: EngineJob) -> Place:
        """A new folder, named like what we call the job there: the name of its own folder is no other attempt's."""
        folder = Path(job.folder)
        here = Path(self._config.video_grpc_scratch or folder) / f"{job.id}-{folder.name}"
        here.mkdir(mode=0o777)
        here.chmod(0o777)  # That worker may be another user.
        return Place(here, str(here))


def target_of(config: EngineConfig) -> Target | None:
    if not config.video_grpc:
        return None
    return Target(config.video_grpc, config.video_grpc_ca, config.video_grpc_cert, config.video_grpc_key)


def outcome_of(model: str | None, delivered: Delivered, found: Found) -> Outcome:
    media = found.media
    facts = {"width": media.width, "height": media.height, "fps": media.fps, "duration_s": media.duration_s}
    metrics: dict[str, float | int | str] = {"GPU_UTIL_MAX": delivered.gpu_util} if delivered.gpu_util else {}
    return Outcome(model, data=facts, files=(found.file,), metrics=metrics, ignored=delivered.ignored)

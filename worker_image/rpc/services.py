"""The two services, as rpcs over videos: what they say, and when."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from gpulease.contract import video_generator_pb2 as wire
from gpulease.contract.jobs import Fault, Phase
from gpulease.contract.video_generator_pb2_grpc import GeneratorServicer, VideoGeneratorServicer
from worker_image.host.process import Step
from worker_image.local import Busy, LocalJobs, Unknown
from worker_image.rpc.access import Door, Refused
from worker_image.rpc.asked import Wanted
from worker_image.rpc.videos import STOPPED, Clash, Ended, Video, Videos, ended_of

EVENTS_APART_S = 0.5
SILENCE_S_MAX = 10.0
"""So often a stream says again where its job stands: GPU's load changes, and a silent stream looks dead."""

_BUSY = Refused(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "Every slot is busy. Try again when the running job is done."
)
_CLASH = Refused(grpc.StatusCode.ALREADY_EXISTS, "job_id: that job was asked for with other parameters.")
_BEGINS = {
    Phase.PREPARING: 0,
    Phase.INFERRING: 5,
    Phase.ENCODING: 90,
    Phase.UPLOADING: 95,
    Phase.COMPLETED: 100,
}
_ENDS = {
    Phase.PREPARING: 5,
    Phase.INFERRING: 90,
    Phase.ENCODING: 95,
    Phase.UPLOADING: 100,
    Phase.COMPLETED: 100,
}
_CODES = {
    "cancelled": wire.CANCELLED,
    "timed_out": wire.TIMED_OUT,
    "out_of_memory": wire.OUT_OF_MEMORY,
}

Reply = TypeVar("Reply")
Rpc = Callable[[Any, Any, Any], Awaitable[Reply]]


def answering(rpc: Rpc[Reply]) -> Rpc[Reply]:
    """Lets in whoever may call, and turns refusals into statuses."""

    @functools.wraps(rpc)
    async def guarded(self: Any, request: Any, context: Any) -> Reply:
        try:
            self.door.admit(context)
            return await rpc(self, request, context)
        except Refused as refused:
            await context.abort(refused.code, refused.message)
            raise

    return guarded


class Generator(GeneratorServicer):
    """`gpu_util` tells the GPU's load now, 0 to 1."""

    def __init__(self, videos: Videos, jobs: LocalJobs, door: Door, gpu_util: Callable[[], float]) -> None:
        self.door = door
        self._videos = videos
        self._jobs = jobs
        self._gpu_util = gpu_util

    async def Generate(  # noqa: N802  Names of the service.
        self, request: wire.GenerateRequest, context: Any
    ) -> AsyncIterator[wire.GenerateEvent]:
        try:
            self.door.admit(context)
            wanted = self._videos.terms.wanted(request)
            video = self._begin(wanted)
        except Refused as refused:
            await context.abort(refused.code, refused.message)
            return
        try:
            async for step in _steps(video):
                yield wire.GenerateEvent(progress=self._progress(video.id, step))
            ended = await self._videos.ended(video, wanted)
        except (asyncio.CancelledError, GeneratorExit):
            if wanted.cancel_on_close:
                self._videos.cancel(video.id)
            raise
        if ended.fault == STOPPED:
            await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPED.message)
        yield _last_event(video.id, ended)

    @answering
    async def GetJob(self, request: wire.GetJobRequest, context: Any) -> wire.GetJobResponse:  # noqa: ARG002, N802
        statuses = wire.GetJobResponse
        job_id = request.job_id
        try:
            ended, step = look(self._videos, self._jobs, job_id)
        except Unknown:
            return wire.GetJobResponse(job_id=job_id, status=statuses.UNKNOWN)
        if ended is None:
            status = statuses.QUEUED if step is None else statuses.RUNNING
            return wire.GetJobResponse(job_id=job_id, status=status, progress=_percent(step))
        if ended.fault is not None:
            return wire.GetJobResponse(job_id=job_id, status=statuses.FAILED, error=ended.fault.message)
        return wire.GetJobResponse(
            job_id=job_id, status=statuses.SUCCEEDED, s3_url=ended.s3_url, progress=100
        )

    @answering
    async def Cancel(self, request: wire.CancelRequest, context: Any) -> wire.CancelResponse:  # noqa: ARG002, N802
        return wire.CancelResponse(cancelled=self._videos.cancel(request.job_id))

    def _begin(self, wanted: Wanted) -> Video:
        try:
            return self._videos.begin(wanted)
        except Busy as error:
            raise _BUSY from error
        except Clash as error:
            raise _CLASH from error

    def _progress(self, job_id: str, step: Step) -> wire.Progress:
        """Where the engine counts no steps, hundredths of its phase are."""
        counted = step.step is not None and step.total_steps is not None
        return wire.Progress(
            job_id=job_id,
            step=step.step if counted else round(100 * step.share),
            total_steps=step.total_steps if counted else 100,
            message=step.message or step.phase,
            gpu_util=self._gpu_util(),
        )


class Submissions(VideoGeneratorServicer):
    def __init__(self, videos: Videos, jobs: LocalJobs, door: Door) -> None:
        self.door = door
        self._videos = videos
        self._jobs = jobs

    @answering
    async def Generate(self, request: wire.SubmitRequest, context: Any) -> wire.GenerateResponse:  # noqa: ARG002, N802
        """What is wrong with the job is in the message: callers of this service look at nothing else."""
        try:
            self._videos.begin(self._videos.terms.submitted(request))
        except Busy:
            return wire.GenerateResponse(accepted=False, message=_BUSY.message)
        except Clash:
            return wire.GenerateResponse(accepted=False, message=_CLASH.message)
        except Refused as refused:
            return wire.GenerateResponse(accepted=False, message=refused.message)
        return wire.GenerateResponse(accepted=True)

    @answering
    async def GetStatus(self, request: wire.StatusRequest, context: Any) -> wire.StatusResponse:  # noqa: ARG002, N802
        job_id = request.job_id
        try:
            ended, step = look(self._videos, self._jobs, job_id)
        except Unknown:
            return wire.StatusResponse(
                job_id=job_id, state="failed", error_message="There is no such job here."
            )
        if ended is None:
            return wire.StatusResponse(job_id=job_id, state="pending" if step is None else "processing")
        if ended.fault is not None:
            return wire.StatusResponse(job_id=job_id, state="failed", error_message=ended.fault.message)
        where = ended.s3_url or str(ended.path or "")
        return wire.StatusResponse(job_id=job_id, state="completed", output_path=where)


def look(videos: Videos, jobs: LocalJobs, job_id: str) -> tuple[Ended | None, Step | None]:
    """How a job ended, or its newest step; also of one that the worker's HTTP was given. Raises: Unknown."""
    answer = jobs.answer(job_id)
    video = videos.find(job_id)
    if video is not None:
        return video.ended, video.step
    return (ended_of(answer) if answer is not None else None), None


async def _steps(video: Video) -> AsyncIterator[Step]:
    """New steps, at most twice a second, until the job has ended; now and then the old one again."""
    told, told_at = None, time.monotonic()
    assert video.task is not None  # noqa: S101  It was made with the video.
    while True:
        silent_s = time.monotonic() - told_at
        if video.step is not None and (video.step != told or silent_s > SILENCE_S_MAX):
            told, told_at = video.step, time.monotonic()
            yield told
        if (await asyncio.wait({video.task}, timeout=EVENTS_APART_S))[0]:
            return


def _last_event(job_id: str, ended: Ended) -> wire.GenerateEvent:
    if ended.fault is not None:
        return wire.GenerateEvent(
            error=wire.Error(job_id=job_id, code=_code(ended.fault), message=ended.fault.message)
        )
    result = wire.Result(
        job_id=job_id,
        artifact_path=str(ended.path or ""),
        s3_url=ended.s3_url,
        etag=ended.etag,
        bytes=ended.size_bytes,
    )
    return wire.GenerateEvent(result=result)


def _code(fault: Fault) -> int:
    return int(_CODES.get(fault.code, wire.INVALID_INPUT if fault.kind == "job" else wire.FAILED))


def _percent(step: Step | None) -> int:
    if step is None:
        return 0
    low, high = _BEGINS[step.phase], _ENDS[step.phase]
    return round(low + (high - low) * min(max(step.share, 0.0), 1.0))

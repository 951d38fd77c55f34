"""A video worker of the first system, whose wire is that of its own files: see video_wire.

Its jobs go on without their streams, and are known by their ids, until it is restarted. Knobs break it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import grpc.aio

import video_wire

GENERATOR, SUBMISSIONS = "generator", "submissions"


def write_film(path: Path, frames: int = 4, side: int = 64) -> None:
    """A real film, grey and short."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(side, side, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([100]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@dataclass
class Job:
    request: object
    step: int = 0
    path: str = ""
    task: "asyncio.Task[None] | None" = None

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()


@dataclass
class Knobs:
    """`leave` writes the film where it likes and returns what it tells of it; `error` is a code and words."""

    serves: tuple[str, ...] = (GENERATOR,)
    steps: int = 3
    step_s: float = 0.02
    hold: bool = False
    break_streams: int = 0
    mute_streams: int = 0
    busy: bool = False
    error: tuple[int, str] | None = None
    status: grpc.StatusCode | None = None
    s3_url: str = ""
    told_bytes: int | None = None
    leave: Callable[[Path], str] | None = None
    state: str | None = None


@dataclass
class VideoWorker:
    folder: Path
    knobs: Knobs = field(default_factory=Knobs)
    jobs: dict[str, Job] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    streams: list[object] = field(default_factory=list)
    closed: int = 0
    port: int = 0
    keys: list[str] = field(default_factory=list)
    sees: dict[str, Path] = field(default_factory=dict)
    """Folders by the names that a container has for them."""

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, credentials=None) -> None:
        self._server = server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        if GENERATOR in self.knobs.serves:
            server.add_generic_rpc_handlers((video_wire.generator().handlers(_Generator(self)),))
        if SUBMISSIONS in self.knobs.serves:
            server.add_generic_rpc_handlers((video_wire.video_generator().handlers(_Submissions(self)),))
        where = f"127.0.0.1:{self.port}"
        secure = credentials is not None
        self.port = server.add_secure_port(where, credentials) if secure else server.add_insecure_port(where)
        await server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def restart(self, away_s: float = 0.3) -> None:
        """It forgets what it made, and what it was at."""
        await self.stop()
        for job in self.jobs.values():
            job.task.cancel()
        self.jobs.clear()
        await asyncio.sleep(away_s)
        await self.start()

    def take(self, request) -> Job:
        job = self.jobs.get(request.job_id)
        if job is None:
            job = self.jobs[request.job_id] = Job(request)
            self.runs.append(request.job_id)
            job.task = asyncio.create_task(self._run(job))
        return job

    async def _run(self, job: Job) -> None:
        for number in range(1, self.knobs.steps + 1):
            await asyncio.sleep(self.knobs.step_s)
            while self.knobs.hold and number == self.knobs.steps:
                await asyncio.sleep(0.02)
            job.step = number
        if self.knobs.error is None:
            scratch = Path(getattr(job.request, "scratch_dir", "") or self.folder)
            leave = self.knobs.leave or left(f"{job.request.job_id}.mp4")
            job.path = self.leave(leave, scratch)

    def leave(self, leave: Callable[[Path], str], scratch: Path) -> str:
        for there, here in self.sees.items():
            if scratch.is_relative_to(there):
                told = leave(here / scratch.relative_to(there))
                return told.replace(str(here), there, 1)
        return leave(scratch)


def left(name: str) -> Callable[[Path], str]:
    def leave(scratch: Path) -> str:
        write_film(scratch / name)
        return str(scratch / name)

    return leave


def worker_sees(worker: VideoWorker, path: str) -> bool:
    return any(Path(path).is_relative_to(there) for there in worker.sees)


class _Generator:
    def __init__(self, worker: VideoWorker) -> None:
        self._worker = worker
        self._wire = video_wire.generator()

    async def Generate(self, request, context):  # noqa: N802
        worker, knobs, wire = self._worker, self._worker.knobs, self._wire
        worker.streams.append(request)
        worker.keys.append(dict(context.invocation_metadata()).get("x-internal-api-key", ""))
        if knobs.status is not None:
            await context.abort(knobs.status, "it says no")
        job = worker.take(request)
        if knobs.mute_streams:
            knobs.mute_streams -= 1
            return
        try:
            told = -1
            while not job.done:
                if job.step != told:
                    told = job.step
                    said = wire.Progress(
                        job_id=request.job_id,
                        step=told,
                        total_steps=knobs.steps,
                        message=f"frame {told}",
                        gpu_util=0.75,
                    )
                    yield wire.GenerateEvent(progress=said)
                    if told and knobs.break_streams:
                        knobs.break_streams -= 1
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken wire")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            worker.closed += 1
            raise
        yield self._end(request, job)

    def _end(self, request, job):
        knobs, wire = self._worker.knobs, self._wire
        if knobs.error is not None:
            code, message = knobs.error
            return wire.GenerateEvent(error=wire.Error(job_id=request.job_id, code=code, message=message))
        path = Path(job.path) if job.path and not worker_sees(self._worker, job.path) else None
        size = path.stat().st_size if path and path.is_file() else 0
        result = wire.Result(
            job_id=request.job_id,
            artifact_path=job.path,
            s3_url=knobs.s3_url,
            bytes=size if knobs.told_bytes is None else knobs.told_bytes,
        )
        return wire.GenerateEvent(result=result)

    async def GetJob(self, request, context):  # noqa: N802
        wire, job = self._wire, self._worker.jobs.get(request.job_id)
        if job is None:
            return wire.GetJobResponse(job_id=request.job_id, status=0)
        if not job.done:
            percent = 100 * job.step // self._worker.knobs.steps
            return wire.GetJobResponse(job_id=request.job_id, status=2, progress=percent)
        if self._worker.knobs.error is not None:
            return wire.GetJobResponse(job_id=request.job_id, status=4, error=self._worker.knobs.error[1])
        return wire.GetJobResponse(
            job_id=request.job_id, status=3, s3_url=self._worker.knobs.s3_url, progress=100
        )


class _Submissions:
    def __init__(self, worker: VideoWorker) -> None:
        self._worker = worker
        self._wire = video_wire.video_generator()

    async def Generate(self, request, context):  # noqa: N802
        if self._worker.knobs.busy:
            return self._wire.GenerateResponse(accepted=False, message="one at a time")
        self._worker.streams.append(request)
        self._worker.take(request)
        return self._wire.GenerateResponse(accepted=True)

    async def GetStatus(self, request, context):  # noqa: N802
        job, knobs = self._worker.jobs.get(request.job_id), self._worker.knobs
        said = self._wire.StatusResponse(job_id=request.job_id)
        if job is None:
            said.state, said.error_message = "failed", "unknown job"
        elif not job.done:
            said.state = "processing" if job.step else "pending"
        elif knobs.error is not None:
            said.state, said.error_message = "failed", knobs.error[1]
        else:
            said.state, said.output_path = "completed", knobs.s3_url or job.path
        said.state = knobs.state or said.state
        return said


@asynccontextmanager
async def video_worker(folder: Path, credentials=None, **knobs) -> AsyncIterator[VideoWorker]:
    worker = VideoWorker(folder, Knobs(**knobs))
    await worker.start(credentials)
    try:
        yield worker
    finally:
        await worker.stop()
        for job in worker.jobs.values():
            job.task.cancel()

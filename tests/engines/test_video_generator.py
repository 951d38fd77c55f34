"""Driving workers of the first system over their own wire: streams, breaks, cancels, and what they say they left."""

import asyncio
import itertools
import os
import time
from pathlib import Path

import grpc
import pytest
from stopwatch import Stopwatch

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import VideoInput
from gpulease.contract.jobs import Phase
from video_worker import GENERATOR, SUBMISSIONS, VideoWorker, left, video_worker, write_film
from worker_image.engines.base import EngineConfig, EngineJob
from worker_image.engines.registry import make
from worker_image.engines.video.found import Place, fetched
from worker_image.engines.video.generator import Driver, Order
from worker_image.engines.video.replies import Patience
from worker_image.engines.video.target import Line, Target
from worker_image.faults import Cancelled, HostFault, InputFault
from worker_image.host.log import JobLog
from worker_image.host.process import EngineProcess

NUMBERS = itertools.count(1)
INPUT = {"prompt": "a cat on a boat", "width": 64, "height": 64, "duration": 0.5, "fps": 8, "seed": 3}


class Report:
    """Keeps what it is told; raises when the job was taken back."""

    def __init__(self) -> None:
        self.told: list[tuple] = []
        self.calls_at: list[float] = []
        self.taken_back = False

    def __call__(self, share, message=None, *, phase=Phase.INFERRING, step=None, total_steps=None) -> None:
        if self.taken_back:
            raise Cancelled
        self.calls_at.append(time.monotonic())
        self.told.append((round(share, 2), message, step, total_steps))


def order_in(folder: Path, job_id: str = "", model: str | None = "mochi-1-preview", **more) -> Order:
    here = folder / f"scratch-{next(NUMBERS)}"
    here.mkdir()
    return Order(job_id or here.name, model, VideoInput.model_validate(INPUT | more), Place(here, str(here)))


async def drive(worker: VideoWorker, order: Order, report=None, silence_s: float = 5.0):
    async with Line(Target(worker.url)) as line:
        return await Driver(line, Patience(silence_s)).make(order, report or Report())


async def film_of(worker: VideoWorker, folder: Path, **more):
    order = order_in(folder, **more)
    delivered = await drive(worker, order)
    out = folder / f"out-{order.place.here.name}"
    out.mkdir()
    return fetched(delivered.told, order.place, out)


async def until(condition, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.fixture
async def worker(tmp_path):
    async with video_worker(tmp_path) as found:
        yield found


async def test_a_video_is_asked_for_followed_and_taken(worker, tmp_path):
    report, order = Report(), order_in(tmp_path, job_id="job-7")
    delivered = await drive(worker, order, report)
    (asked,) = worker.streams
    assert (asked.job_id, asked.prompt, asked.model) == ("job-7", "a cat on a boat", "mochi-1-preview")
    assert asked.scratch_dir == str(order.place.here)
    options = {"width": "64", "height": "64", "duration": "0.5", "fps": "8", "seed": "3", "quality": "medium"}
    assert dict(asked.options) == options
    assert (0.33, "frame 1", 1, 3) in report.told
    assert delivered.gpu_util == 0.75
    found = fetched(delivered.told, order.place, tmp_path)
    assert (found.file.name, found.file.content_type) == ("video.mp4", "video/mp4")
    assert (found.media.width, found.media.duration_s) == (64, 0.5)
    assert list(order.place.here.iterdir()) == []


async def test_a_broken_stream_is_taken_up_again_and_the_job_runs_once(worker, tmp_path):
    worker.knobs.break_streams = 2
    worker.knobs.hold = True
    making = asyncio.create_task(film_of(worker, tmp_path))
    await until(lambda: len(worker.streams) == 3)
    worker.knobs.hold = False
    found = await making
    assert (len(worker.streams), len(worker.runs)) == (3, 1)
    assert found.media.kind == "video"


async def test_a_worker_that_restarts_mid_job_is_asked_anew(worker, tmp_path):
    worker.knobs.hold = True
    report, order = Report(), order_in(tmp_path)
    making = asyncio.create_task(drive(worker, order, report))
    await until(lambda: (0.67, "frame 2", 2, 3) in report.told)
    await worker.restart()
    worker.knobs.hold = False
    delivered = await making
    assert delivered.told.path
    assert worker.runs == [order.job_id] * 2


async def test_a_worker_that_stays_away_is_at_fault_in_time(worker, tmp_path):
    worker.knobs.hold = True
    report = Report()
    making = asyncio.create_task(drive(worker, order_in(tmp_path), report, silence_s=0.5))
    await until(lambda: report.told[-1:] == [(0.67, "frame 2", 2, 3)])
    started = time.monotonic()
    await worker.stop()
    with pytest.raises(HostFault, match="UNAVAILABLE") as caught:
        await making
    assert caught.value.code == "generator_unreachable"
    assert time.monotonic() - started < 20
    await worker.start()


async def test_where_a_repeated_call_says_nothing_the_job_is_asked_how_it_is(worker, tmp_path):
    worker.knobs.mute_streams, worker.knobs.step_s = 1, 0.2
    found = await film_of(worker, tmp_path)
    assert (len(worker.streams), found.media.kind) == (1, "video")


async def test_a_cancel_closes_the_stream_of_a_worker_that_knows_no_cancel(worker, tmp_path):
    worker.knobs.hold = True
    report = Report()
    making = asyncio.create_task(drive(worker, order_in(tmp_path), report))
    await until(lambda: len(report.told) > 1)
    report.taken_back = True
    with Stopwatch() as took, pytest.raises(Cancelled):
        await making
    assert took.seconds < 1.5
    await until(lambda: worker.closed == 1)


async def test_it_reports_while_the_worker_is_silent(worker, tmp_path):
    worker.knobs.hold = True
    report = Report()
    making = asyncio.create_task(drive(worker, order_in(tmp_path), report))
    with Stopwatch() as took:
        seen = len(report.calls_at)
        await until(lambda: len(report.calls_at) > seen + 3)
    assert took.seconds < 2.4
    worker.knobs.hold = False
    await making


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ((1, "stopped"), HostFault, "generator_cancelled"),
        ((3, "no such size"), InputFault, "input_invalid"),
        ((4, "too slow"), HostFault, "generator_timed_out"),
        ((8, "no room"), HostFault, "out_of_memory"),
        ((13, "broke"), HostFault, "generator_failed"),
        ((422, "bad prompt"), InputFault, "input_invalid"),
        ((500, "broke"), HostFault, "generator_failed"),
        ((0, ""), HostFault, "generator_failed"),
        ((-7, "what"), HostFault, "generator_failed"),
    ],
)
async def test_errors_are_the_jobs_or_the_hosts(worker, tmp_path, error, kind, code):
    worker.knobs.error = error
    with pytest.raises(kind) as caught:
        await drive(worker, order_in(tmp_path))
    assert caught.value.code == code
    assert error[1] in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InputFault, "input_invalid"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, HostFault, "generator_busy"),
        (grpc.StatusCode.FAILED_PRECONDITION, HostFault, "model_missing"),
        (grpc.StatusCode.UNAUTHENTICATED, HostFault, "generator_refused"),
        (grpc.StatusCode.INTERNAL, HostFault, "generator_failed"),
    ],
)
async def test_so_are_statuses(worker, tmp_path, status, kind, code):
    worker.knobs.status = status
    with pytest.raises(kind, match="it says no") as caught:
        await drive(worker, order_in(tmp_path))
    assert caught.value.code == code


def link(scratch: Path) -> str:
    (scratch / "film.mp4").symlink_to(scratch.parent / "secret.mp4")
    return str(scratch / "film.mp4")


def folder_link(scratch: Path) -> str:
    (scratch / "sub").symlink_to(scratch.parent)
    return str(scratch / "sub" / "secret.mp4")


def text(scratch: Path) -> str:
    (scratch / "film.mp4").write_text("no film")
    return str(scratch / "film.mp4")


def pipe(scratch: Path) -> str:
    os.mkfifo(scratch / "film.mp4")
    return str(scratch / "film.mp4")


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda scratch: str(scratch.parent / "secret.mp4"), "video_outside"),
        (lambda scratch: str(scratch / ".." / "secret.mp4"), "video_outside"),
        (lambda _: "/etc/passwd", "video_outside"),
        (lambda _: "secret.mp4", "video_outside"),
        (lambda scratch: f"{scratch}/\0", "video_outside"),
        (str, "video_outside"),
        (link, "video_outside"),
        (folder_link, "video_outside"),
        (pipe, "video_outside"),
        (text, "video_invalid"),
        (lambda scratch: str(scratch / "missing.mp4"), "video_missing"),
        (lambda _: "", "video_missing"),
    ],
)
async def test_no_path_outside_the_folder_is_believed(worker, tmp_path, leave, code):
    secret = tmp_path / "secret.mp4"
    write_film(secret)
    worker.knobs.leave = leave
    with pytest.raises(HostFault) as caught:
        await film_of(worker, tmp_path)
    assert caught.value.code == code
    assert secret.is_file()


async def test_a_video_in_a_store_that_is_not_ours_is_said_to_be_there(worker, tmp_path):
    worker.knobs.leave, worker.knobs.s3_url = (lambda _: ""), "s3://videos/a.mp4"
    with pytest.raises(HostFault, match=r"s3://videos/a\.mp4") as caught:
        await film_of(worker, tmp_path)
    assert caught.value.code == "video_elsewhere"


async def test_a_video_that_is_shorter_than_told_is_torn(worker, tmp_path):
    worker.knobs.told_bytes = 10_000_000
    with pytest.raises(HostFault, match=r"has .* bytes and not 10000000"):
        await film_of(worker, tmp_path)


async def test_a_worker_that_only_takes_jobs_is_asked_how_they_are(tmp_path):
    shared = order_in(tmp_path)
    async with video_worker(tmp_path, serves=(SUBMISSIONS,), leave=left("x.mp4")) as worker:
        worker.folder = shared.place.here
        delivered = await drive(worker, shared)
        (asked,) = worker.streams
        assert (asked.job_id, asked.resolution_width, asked.duration_seconds) == (shared.job_id, 64, 1)
        assert asked.quality == "medium"
        assert delivered.ignored == ("fps", "seed")
        assert fetched(delivered.told, shared.place, tmp_path).media.width == 64
        for knob, value, code in (
            ("state", "odd", "generator_failed"),
            ("error", (3, "no"), "generator_failed"),
            ("busy", True, "generator_refused"),
        ):
            setattr(worker.knobs, knob, value)
            with pytest.raises(HostFault) as caught:
                await drive(worker, order_in(tmp_path))
            assert caught.value.code == code
            worker.knobs.state = None


async def test_a_worker_with_neither_service_is_at_fault(tmp_path):
    async with video_worker(tmp_path, serves=()) as worker:
        with pytest.raises(HostFault, match="neither"):
            await drive(worker, order_in(tmp_path))


# The backend, whose process asks for its own loop, and whose probe is asked where one runs already.


def probed(**config):
    return make("grpc", EngineConfig(**config)).probe()


async def test_it_is_offered_where_a_worker_answers(worker, tmp_path):
    assert "GPULEASE_VIDEO_GRPC" in probed()
    config = {"video_grpc": worker.url, "video_grpc_models": ("mochi-1-preview",)}
    offer = await asyncio.to_thread(probed, **config)
    assert offer == EngineOffer(engine="video", backend="grpc", models=("mochi-1-preview",))
    reason = await asyncio.to_thread(probed, **config, video_grpc_scratch=str(tmp_path / "none"))
    assert "GPULEASE_VIDEO_GRPC_SCRATCH is no folder" in reason
    reason = await asyncio.to_thread(probed, **config, video_grpc_ca=str(tmp_path / "none"))
    assert "No such file" in reason
    await worker.stop()
    assert "nothing that speaks gRPC" in await asyncio.to_thread(probed, **config)
    await worker.start()


@pytest.mark.parametrize("serves", [(), (GENERATOR,), (SUBMISSIONS,)])
async def test_a_probe_tells_the_services_apart(tmp_path, serves):
    async with video_worker(tmp_path, serves=serves) as worker:
        found = await asyncio.to_thread(probed, video_grpc=worker.url)
    assert isinstance(found, EngineOffer) is bool(serves)
    assert serves or "neither" in found


async def run_in_process(config: EngineConfig, job: EngineJob, on_step):
    """As the worker runs it."""
    host = await EngineProcess.start("grpc", config, Path(job.folder).parent / f"host-{next(NUMBERS)}")
    try:
        return await host.run(job, JobLog(host.log_path), on_step)
    finally:
        await host.end()


def job_in(tmp_path: Path) -> EngineJob:
    folder = tmp_path / f"attempt-{next(NUMBERS)}"
    folder.mkdir()
    return EngineJob("job-1", "video", None, dict(INPUT), {}, str(folder))


async def test_the_backend_in_its_process(worker, tmp_path):
    steps = []
    config = EngineConfig(video_grpc=worker.url, video_grpc_models=("mochi-1-preview", "wan"))
    job = job_in(tmp_path)
    outcome = await run_in_process(config, job, steps.append)
    assert outcome.model == "mochi-1-preview"
    assert outcome.data == {"width": 64, "height": 64, "fps": 8.0, "duration_s": 0.5}
    assert outcome.metrics["GPU_UTIL_MAX"] == 0.75
    assert outcome.files[0].path == str(Path(job.folder, "out", "video.mp4"))
    assert [one.step for one in steps if one.step] == [1, 2]
    assert worker.streams[0].job_id == f"job-1-{Path(job.folder).name}"


async def test_a_cancel_reaches_the_worker_there_and_leaves_nothing_in_its_folder(worker, tmp_path):
    shared, steps = tmp_path / "shared", []
    shared.mkdir()
    worker.knobs.hold = True
    config = EngineConfig(video_grpc=worker.url, video_grpc_scratch=str(shared))
    running = asyncio.create_task(run_in_process(config, job_in(tmp_path), steps.append))
    await until(lambda: any(one.step == 2 for one in steps))
    assert len(list(shared.iterdir())) == 1
    running.cancel()
    with Stopwatch() as took, pytest.raises(asyncio.CancelledError):
        await running
    assert took.seconds < 3.0
    await until(lambda: worker.closed == 1)
    assert list(shared.iterdir()) == []

"""A whole worker process by gRPC, whose video engine drives a worker of the first system: its wire on both sides."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import grpc
import pytest
from stopwatch import Stopwatch

import video_wire
from gpulease.contract import video_generator_pb2 as wire
from gpulease.contract.video_generator_pb2_grpc import GeneratorStub
from video_worker import video_worker

pytestmark = pytest.mark.slow

OPTIONS = {"width": "64", "height": "64", "duration": "0.5", "fps": "8"}


class Process:
    def __init__(self, folder, **extra):
        self.folder = folder
        own = {
            "GPULEASE_GRPC_PORT": "0",
            "GPULEASE_WORKER_PORT": "-1",
            "GPULEASE_WORKER_GRACE_S": "0.3",
            "GPULEASE_SCRATCH": str(folder / "scratch"),
            "GPULEASE_GRPC_SCRATCH_ROOT": str(folder),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GPULEASE_")}
        command = [sys.executable, "-m", "worker_image"]
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env={**clean, **own, **extra}, stdout=log, stderr=log)

    @property
    def log(self):
        return self.log_path.read_text()

    async def port(self):
        await until(lambda: "listening_grpc" in self.log or self.process.poll() is not None)
        return int(re.search(r"listening_grpc.*?port=(?:\x1b\[\d+m)*(\d+)", self.log).group(1))

    async def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        await until(lambda: self.process.poll() is not None)
        return self.process.returncode


async def until(condition, within_s=20.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def read_to_its_end(call):
    while await call.read() is not grpc.aio.EOF:
        pass


@asynccontextmanager
async def worker_process(folder, **extra):
    worker = Process(folder, **extra)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


@pytest.fixture
async def there(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    async with video_worker(folder) as found:
        yield found


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


async def test_a_client_of_the_first_system_gets_a_video_from_a_worker_of_it(tmp_path, there, shared):
    there.knobs.step_s = 0.3
    async with worker_process(tmp_path, GPULEASE_VIDEO_GRPC=there.url) as worker:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{await worker.port()}") as channel:
            first = video_wire.generator()
            asked = first.GenerateRequest(
                job_id="job-1", prompt="a cat", scratch_dir=str(shared), options=OPTIONS
            )
            events = [one async for one in first.stub(channel).Generate(asked)]
        steps = [one.progress for one in events[:-1]]
        assert any(one.total_steps == 3 and one.message.startswith("frame ") for one in steps)
        result = events[-1].result
        assert result.artifact_path == str(shared / "job-1.mp4")
        assert (shared / "job-1.mp4").stat().st_size == result.bytes > 500
        assert there.streams[0].options["width"] == "64"
        assert await worker.end() == 0
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_cancel_goes_all_the_way(tmp_path, there):
    there.knobs.hold = True
    async with (
        worker_process(tmp_path, GPULEASE_VIDEO_GRPC=there.url) as worker,
        grpc.aio.insecure_channel(f"127.0.0.1:{await worker.port()}") as channel,
    ):
        stub = GeneratorStub(channel)
        call = stub.Generate(wire.GenerateRequest(job_id="job-1", prompt="a cat", options=OPTIONS))
        while (await call.read()).progress.total_steps != 3:
            pass
        with Stopwatch() as took:
            assert (await stub.Cancel(wire.CancelRequest(job_id="job-1"))).cancelled
            while not (event := await call.read()).HasField("error"):
                pass
            assert event.error.code == wire.CANCELLED
            await until(lambda: there.closed == 1)
        assert took.seconds < 2.0


async def test_a_worker_that_is_killed_mid_job_is_asked_again_by_the_same_id(tmp_path, there):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    there.knobs.hold = True
    environment = {"GPULEASE_VIDEO_GRPC": there.url, "GPULEASE_GRPC_PORT": port}
    asked = wire.GenerateRequest(job_id="job-1", prompt="a cat", options=OPTIONS)
    async with (
        worker_process(tmp_path, **environment) as worker,
        grpc.aio.insecure_channel(f"127.0.0.1:{await worker.port()}") as channel,
    ):
        call = GeneratorStub(channel).Generate(asked)
        while (await call.read()).progress.total_steps != 3:
            pass
        await worker.end(signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_its_end(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    there.knobs.hold = False
    async with worker_process(tmp_path, **environment) as worker:
        await worker.port()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            events = [one async for one in GeneratorStub(channel).Generate(asked)]
    assert events[-1].result.bytes > 500
    assert len(there.runs) == 2


async def test_what_is_open_or_taken_stops_the_start(tmp_path):
    async with worker_process(tmp_path, GPULEASE_WORKER_HOST="0.0.0.0") as worker:
        await until(lambda: worker.process.poll() is not None)
        assert (worker.process.returncode, "is open to other machines" in worker.log) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with worker_process(tmp_path, GPULEASE_GRPC_PORT=port) as worker:
            await until(lambda: worker.process.poll() is not None)
            assert (worker.process.returncode, "GPULEASE_GRPC_PORT" in worker.log) == (1, True)

"""Clients of the first system, built from its own files: both services, and its client's own code."""

import asyncio
import subprocess
import sys

import pytest

import video_wire
from worker_image.faults import InputFault

pytestmark = pytest.mark.slow
# The loop of that system's task queue, against modules that protoc made of its file.
CLIENT = """
import sys
import grpc
from video_pb2 import GenerateRequest
from video_pb2_grpc import GeneratorStub

chan = grpc.insecure_channel(sys.argv[1])
stub = GeneratorStub(chan)
options = {"width": "848", "height": "480", "fps": "24", "seed": "1", "duration": "5"}
req = GenerateRequest(job_id="job-1", prompt="a cat", model="mochi-1-preview", scratch_dir=sys.argv[2], options=options)
for event in stub.Generate(req):
    if event.HasField("progress"):
        print("RUNNING", event.progress.step, event.progress.total_steps, event.progress.gpu_util)
    elif event.HasField("result"):
        print("SUCCEEDED", event.result.artifact_path, event.result.bytes)
    elif event.HasField("error"):
        print("FAILED", event.error.message)
"""


async def test_its_own_modules_and_client(serving, tmp_path):
    (tmp_path / "video.proto").write_text(video_wire.GENERATOR)
    (tmp_path / "client.py").write_text(CLIENT)
    made = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")]
    protoc = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{tmp_path}",
        *made,
        str(tmp_path / "video.proto"),
    ]
    await asyncio.to_thread(subprocess.run, protoc, check=True, timeout=60)
    asyncio.get_running_loop().call_later(1.5, serving.engine.go.set)
    scratch = serving.root / "mine"
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "client.py", f"127.0.0.1:{serving.port}", str(scratch)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        said = (await client.stdout.read()).decode().splitlines()
        assert await client.wait() == 0
    assert said[0].startswith("RUNNING ")
    assert said[0].endswith(" 3 0.5")
    assert said[-1] == f"SUCCEEDED {scratch}/job-1.mp4 6"


async def test_a_stream_and_a_look_by_its_messages(serving):
    first = video_wire.generator()
    serving.engine.go.set()
    asked = first.GenerateRequest(job_id="job-1", prompt="a cat", options={"seed": "1"})
    events = [one async for one in serving.first_generator.Generate(asked)]
    assert events[-1].result.bytes == 6
    job = await serving.first_generator.GetJob(first.GetJobRequest(job_id="job-1"))
    assert (job.status, job.progress) == (3, 100)
    job = await serving.first_generator.GetJob(first.GetJobRequest(job_id="job-2"))
    assert (job.job_id, job.status) == ("job-2", 0)


async def test_submissions_from_pending_to_completed(serving):
    first, stub = video_wire.video_generator(), serving.first_submissions
    asked = first.GenerateRequest(
        job_id="job-1",
        prompt="a cat",
        resolution_width=1920,
        resolution_height=1080,
        duration_seconds=6,
        quality="high",
    )
    assert (await stub.Generate(asked)).accepted
    assert (await stub.Generate(asked)).accepted
    status = first.StatusRequest(job_id="job-1")
    seen = []
    while "completed" not in seen:
        said = await stub.GetStatus(status)
        seen.append(said.state)
        if said.state == "processing":
            serving.engine.go.set()
        await asyncio.sleep(0.01)
    assert set(seen) <= {"pending", "processing", "completed"}
    assert said.output_path.endswith("/video.mp4")
    (work,) = serving.engine.works
    numbers = {"width": 1920, "height": 1080, "duration": 6.0, "quality": "high"}
    assert work.input == {"prompt": "a cat", **numbers}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": ""}, "prompt: "),
        ({"prompt": "x", "quality": "best"}, "options.quality: "),
        ({"prompt": "x", "resolution_width": -8}, "options.width: "),
        ({"prompt": "x", "duration_seconds": 100_000}, "options.duration: "),
    ],
)
async def test_what_is_not_accepted_says_why(serving, fields, word):
    asked = video_wire.video_generator().GenerateRequest(job_id="job-1", **fields)
    reply = await serving.first_submissions.Generate(asked)
    assert (reply.accepted, reply.message.startswith(word)) == (False, True)


async def test_busy_failed_and_unknown(serving):
    first, stub = video_wire.video_generator(), serving.first_submissions
    serving.engine.fault = InputFault("prompt_refused", "no cats")
    assert (await stub.Generate(first.GenerateRequest(job_id="job-1", prompt="a cat"))).accepted
    reply = await stub.Generate(first.GenerateRequest(job_id="job-2", prompt="a cat"))
    assert (reply.accepted, "busy" in reply.message) == (False, True)
    serving.engine.go.set()
    while (said := await stub.GetStatus(first.StatusRequest(job_id="job-1"))).state != "failed":
        await asyncio.sleep(0.01)
    assert said.error_message == "no cats"
    said = await stub.GetStatus(first.StatusRequest(job_id="job-3"))
    assert (said.state, said.error_message) == ("failed", "There is no such job here.")

"""Streams of one job: progress, one end, once per id, and what ends with the stream."""

import asyncio
import time

import grpc
import pytest

from gpulease.contract import video_generator_pb2 as wire
from worker_image.faults import HostFault, InputFault

PROMPT = "a cat on a boat"


def asked(job_id="job-1", prompt=PROMPT, **more):
    return wire.GenerateRequest(job_id=job_id, prompt=prompt, **more)


async def events_of(call):
    found = []
    while (event := await call.read()) is not grpc.aio.EOF:
        found.append(event)
    return found


async def until(condition, within_s=10.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(call)
    return caught.value.code(), caught.value.details()


async def test_progress_comes_at_most_twice_a_second_and_one_result_at_the_end(serving):
    serving.engine.steps = 100
    asyncio.get_running_loop().call_later(1.2, serving.engine.go.set)
    started = time.monotonic()
    *steps, last = await events_of(serving.generator.Generate(asked()))
    assert 1 <= len(steps) <= 2 * (time.monotonic() - started) + 1
    said = steps[-1].progress
    assert (said.job_id, said.total_steps, said.gpu_util) == ("job-1", 100, 0.5)
    assert said.message == f"step {said.step}"
    assert (last.result.job_id, last.result.bytes) == ("job-1", len(b"a film"))
    assert last.result.artifact_path.endswith("/video.mp4")


async def test_parameters_are_typed_and_options_win_over_those_in_the_prompt(serving):
    serving.engine.go.set()
    prompt = '{"prompt": "a dog", "width": 64, "fps": 8}'
    options = {"width": "128", "height": "96", "seed": "7", "duration": "0.5"}
    call = serving.generator.Generate(asked(prompt=prompt, model="wan", options=options))
    await events_of(call)
    (work,) = serving.engine.works
    numbers = {"width": 128, "height": 96, "seed": 7, "duration": 0.5, "fps": 8}
    assert work.input == {"prompt": "a dog", "model": "wan", **numbers}
    assert work.model == "wan"


@pytest.mark.parametrize("prompt", ["{a curly cat}", '["a", "list"]', '{"broken": '])
async def test_a_prompt_that_is_no_json_object_is_text(serving, prompt):
    serving.engine.go.set()
    await events_of(serving.generator.Generate(asked(prompt=prompt)))
    assert serving.engine.works[0].input == {"prompt": prompt}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asked(job_id=""), "job_id: "),
        (asked(job_id="a\nb"), "job_id: "),
        (asked(job_id="x" * 201), "job_id: "),
        (asked(prompt=""), "prompt: "),
        (asked(prompt="{}"), "prompt: "),
        (asked(options={"width": "wide"}), "options.width: "),
        (asked(options={"width": "100"}), "options.width: "),
        (asked(options={"duration": "nan"}), "options.duration: "),
        (asked(options={"colour": "red"}), "options.colour: there are prompt, "),
        (asked(options={"cancel_on_close": "maybe"}), "options.cancel_on_close: "),
    ],
)
async def test_a_bad_field_is_named(serving, request_, field):
    code, details = await status_of(serving.generator.Generate(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(field)
    assert serving.engine.works == []


async def test_an_unknown_model_is_a_failed_precondition(serving):
    code, details = await status_of(serving.generator.Generate(asked(model="sora")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "'sora'; it has mochi-1-preview, wan" in details


async def test_a_busy_worker_says_so(serving):
    first = serving.generator.Generate(asked("job-1"))
    await first.read()
    code, _ = await status_of(serving.generator.Generate(asked("job-2")))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    serving.engine.go.set()
    assert (await events_of(first))[-1].HasField("result")
    assert (await events_of(serving.generator.Generate(asked("job-2"))))[-1].HasField("result")


async def test_two_streams_of_one_job_share_its_run_and_its_result_is_repeated(serving):
    calls = [serving.generator.Generate(asked()) for _ in range(2)]
    for call in calls:
        assert (await call.read()).progress.step in (1, 2)
    serving.engine.go.set()
    ends = [(await events_of(call))[-1] for call in calls]
    again = (await events_of(serving.generator.Generate(asked())))[-1]
    assert ends[0] == ends[1] == again
    assert len(serving.engine.works) == 1


async def test_another_job_under_the_same_id_is_refused(serving):
    serving.engine.go.set()
    await events_of(serving.generator.Generate(asked()))
    code, details = await status_of(serving.generator.Generate(asked(prompt="a dog")))
    assert (code, details.partition(":")[0]) == (grpc.StatusCode.ALREADY_EXISTS, "job_id")
    other = wire.SubmitRequest(job_id="job-1", prompt="a dog")
    assert not (await serving.submissions.Generate(other)).accepted


async def test_a_job_given_by_http_has_the_same_id_here(serving):
    from worker_image.local import Asked  # noqa: PLC0415

    serving.engine.go.set()
    await serving.jobs.run(Asked("job-1", "video", None, {"prompt": PROMPT}))
    job = await serving.generator.GetJob(wire.GetJobRequest(job_id="job-1"))
    assert (job.status, job.progress) == (wire.GetJobResponse.SUCCEEDED, 100)
    assert (await events_of(serving.generator.Generate(asked())))[-1].HasField("result")
    assert len(serving.engine.works) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (InputFault("prompt_refused", "no cats"), wire.INVALID_INPUT),
        (InputFault("timed_out", "too long"), wire.TIMED_OUT),
        (HostFault("out_of_memory", "no room"), wire.OUT_OF_MEMORY),
        (HostFault("engine_failed", "it broke"), wire.FAILED),
        (RuntimeError("unforeseen"), wire.FAILED),
    ],
)
async def test_a_failed_job_ends_with_an_error_and_its_code(serving, fault, code):
    serving.engine.fault = fault
    serving.engine.go.set()
    error = (await events_of(serving.generator.Generate(asked())))[-1].error
    assert (error.job_id, error.code) == ("job-1", code)
    assert str(fault) in error.message
    job = await serving.generator.GetJob(wire.GetJobRequest(job_id="job-1"))
    assert (job.status, job.error) == (wire.GetJobResponse.FAILED, error.message)


async def test_a_fault_of_the_host_is_tried_again_and_one_of_the_job_is_not(serving):
    serving.engine.go.set()
    for fault, runs in ((HostFault("broke", "x"), 2), (InputFault("bad", "x"), 3), (None, 3)):
        serving.engine.fault = fault
        await events_of(serving.generator.Generate(asked()))
        await events_of(serving.generator.Generate(asked()))
        assert len(serving.engine.works) == runs


async def test_cancel_is_by_id_and_every_stream_hears_of_it(serving):
    calls = [serving.generator.Generate(asked()) for _ in range(2)]
    for call in calls:
        await call.read()
    assert (await serving.generator.Cancel(wire.CancelRequest(job_id="job-1"))).cancelled
    for call in calls:
        assert (await events_of(call))[-1].error.code == wire.CANCELLED
    assert serving.engine.ended == ["job-1"]
    assert not (await serving.generator.Cancel(wire.CancelRequest(job_id="job-1"))).cancelled
    assert not (await serving.generator.Cancel(wire.CancelRequest(job_id="job-2"))).cancelled


async def test_a_stream_that_is_dropped_or_past_its_deadline_lets_the_job_go_on(serving):
    dropped = serving.generator.Generate(asked())
    await dropped.read()
    dropped.cancel()
    code, _ = await status_of(serving.generator.Generate(asked(), timeout=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    job = await serving.generator.GetJob(wire.GetJobRequest(job_id="job-1"))
    assert job.status == wire.GetJobResponse.RUNNING
    assert 5 < job.progress < 90
    serving.engine.go.set()
    assert (await events_of(serving.generator.Generate(asked())))[-1].HasField("result")
    assert len(serving.engine.works) == 1


async def test_a_job_may_be_asked_to_end_with_its_stream(serving):
    call = serving.generator.Generate(asked(options={"cancel_on_close": "true"}))
    await call.read()
    call.cancel()
    await until(lambda: serving.engine.ended == ["job-1"])

    async def failed():
        return (await serving.generator.GetJob(wire.GetJobRequest(job_id="job-1"))).error

    assert await failed() == "The job was cancelled."


async def test_a_worker_that_stops_sends_its_callers_elsewhere(serving):
    call = serving.generator.Generate(asked())
    await call.read()
    await serving.jobs.stop()
    code, _ = await status_of(call)
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_request_of_any_size_does_not_come_in(serving):
    code, _ = await status_of(serving.generator.Generate(asked(prompt="x" * 1_000_000)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert serving.engine.works == []

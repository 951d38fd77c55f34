"""Faults of the GPU and of memory are the machine's, and free it; a machine that has two in a row is looked at."""

from pathlib import Path

import psutil
import pytest
from agent_orchestrator import Emulator
from conftest import Start, until
from machine_world import finish_of, libraries, speak
from nvidia.stand_in import COMPILER, compile_into

from worker_image.faults import from_exception

pytestmark = pytest.mark.slow


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's."""


class AcceleratorError(RuntimeError):
    """As above."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("Tried to allocate 2.00 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA failed with error out of memory"), "out_of_memory"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronous"),
            "out_of_memory",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (AcceleratorError("unspecified launch failure"), "cuda_error"),
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda_error"),
        (RuntimeError("CUDA failed with error no kernel image is available"), "cuda_error"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda_error"),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"), "cuda_error"),
        (RuntimeError("the list is empty"), "engine_failed"),
        (ValueError("memory of the elephant is out of order"), "engine_failed"),
    ],
)
def test_what_an_error_means(error: Exception, code: str):
    fault = from_exception(error)
    assert (fault.kind, fault.code) == ("host", code)
    assert str(error) in fault.message


def engines(worker) -> set[int]:
    found = worker.kin()
    return {one.pid for one in found if "worker_image.host.child" in " ".join(one.cmdline())}


@pytest.mark.parametrize(("text", "code"), [("memory", "out_of_memory"), ("broken", "cuda_error")])
async def test_a_fault_of_the_gpu_frees_the_model(world: Emulator, start: Start, text: str, code: str):
    worker = start(**libraries("speech"))
    await finish_of(world, speak(world, "fine"))
    before = engines(worker)
    fault = (await finish_of(world, speak(world, text)))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", code)
    assert not any(psutil.pid_exists(pid) for pid in before)
    assert engines(worker) == set()
    await until(lambda: world.beats[-1]["resident"] == [])
    assert (await finish_of(world, speak(world, "fine")))["result"]
    assert engines(worker).isdisjoint(before)


async def test_a_job_that_breaks_for_another_reason_leaves_the_model(world: Emulator, start: Start):
    worker = start(**libraries("speech"))
    await finish_of(world, speak(world, "fine"))
    before = engines(worker)
    clone = world.give("csm", {"text": "?!"})
    assert (await finish_of(world, clone))["fault"]["kind"] == "job"
    assert engines(worker) == before


@pytest.mark.slow
async def test_after_two_in_a_row_an_unfit_machine_says_why_and_claims_no_more(
    world: Emulator, start: Start, tmp_path: Path
):
    if COMPILER is None:
        pytest.skip("no C compiler")
    nvidia = compile_into(tmp_path)
    start(**libraries("speech"), **nvidia.environment)
    first = speak(world, "broken")
    await finish_of(world, first)
    nvidia.say(cuda_fails=719)
    await finish_of(world, speak(world, "broken"))
    await until(lambda: world.beats[-1]["error"])
    assert "CUDA_ERROR_LAUNCH_FAILED" in world.beats[-1]["error"]
    assert world.beats[-1]["status"] == "paused"
    claims = len(world.nonces)
    seen = len(world.beats)
    await until(lambda: len(world.beats) > seen + 8)
    assert len(world.nonces) == claims

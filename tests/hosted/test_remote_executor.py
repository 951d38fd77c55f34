"""Work on a machine elsewhere: what its slot does when the work is taken back, or the machine is at fault."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from gpulease.contract.agent import EngineOffer
from worker_image.engines.base import Outcome
from worker_image.execute import Ears, Made, Work
from worker_image.faults import Faulted, HostFault, InputFault
from worker_image.hosted.executor import Desk, Patience, RemoteExecutor
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.slots import Slots

OFFER = EngineOffer(engine="csm", backend="far")


class Far:
    """A machine that works until it is told to end, and takes a stop or not."""

    name = "far"
    fetches = True

    def __init__(self, *, stoppable: bool = False) -> None:
        self.backends = (self,)
        self.well = True
        self.stoppable = stoppable
        self.began = asyncio.Event()
        self.end = asyncio.Event()
        self.fault: Exception | None = None

    async def probe(self) -> tuple[EngineOffer, ...]:
        return (OFFER,)

    async def run(self, job, report) -> Made:
        report(0.5, "half")
        self.began.set()
        await self.end.wait()
        report(0.9, "nearly")
        if self.fault is not None:
            raise self.fault
        return Made("far", Outcome(text="done"))

    async def stop(self, attempt: int) -> None:
        if self.stoppable:
            self.end.set()

    async def answers(self) -> bool:
        return self.well

    async def aclose(self) -> None:
        pass


class Bench:
    """One executor with one slot, which is held like an attempt's."""

    def __init__(self, far: Far, folder: Path, linger_s_max: float = 5.0) -> None:
        self.slots = Slots(1)
        self.folder = folder
        desk = Desk(self.slots, Prefetched(folder / "p"), "cpu")
        self.executor = RemoteExecutor(far, (OFFER,), desk, Patience(linger_s_max, 0.02))

    async def run(self, **limits) -> Made:
        work = Work("j", "csm", None, {}, self.folder, attempt=7, **limits)
        assert self.slots.take()
        try:
            return await self.executor.run(work, Fetcher(), Ears(lambda _: None))
        finally:
            self.slots.give()


async def free(slots: Slots, within_s: float = 10.0) -> bool:
    """Whether a slot comes free by then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not slots.free:
                await asyncio.sleep(0.01)
    return bool(slots.free)


async def test_what_is_made_comes_back_with_its_times(tmp_path: Path):
    far = Far()
    far.end.set()
    bench = Bench(far, tmp_path)
    made = await bench.run()
    assert (made.backend, made.outcome.text, bench.slots.free) == ("far", "done", 1)
    assert {"GENERATION_TIME_SEC", "SCRIPT_WALL_TIME_SEC", "gpu_class"} <= set(made.outcome.metrics)
    assert (tmp_path / "log").read_text() == "inferring: half\ninferring: nearly\n"


@pytest.mark.parametrize("stoppable", [False, True])
async def test_the_slot_is_taken_for_as_long_as_the_machine_works(tmp_path: Path, stoppable: bool):
    far = Far(stoppable=stoppable)
    bench = Bench(far, tmp_path)
    call = asyncio.create_task(bench.run())
    await far.began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await free(bench.slots, 10.0 if stoppable else 0.1) == stoppable
    far.end.set()
    assert await free(bench.slots)
    assert not bench.executor.given_up.is_set()


async def test_a_machine_that_does_not_end_is_given_up(tmp_path: Path):
    far = Far()
    bench = Bench(far, tmp_path, linger_s_max=0.05)
    call = asyncio.create_task(bench.run())
    await far.began.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await bench.executor.given_up.wait()
    assert not await free(bench.slots, 0.1)
    await asyncio.gather(call, return_exceptions=True)


async def test_after_its_fault_a_machine_must_answer_first(tmp_path: Path):
    far = Far()
    far.fault, far.well = HostFault("broken", "broken"), False
    far.end.set()
    bench = Bench(far, tmp_path)
    with pytest.raises(HostFault):
        await bench.run()
    assert not await free(bench.slots, 0.1)
    far.well = True
    assert await free(bench.slots)


async def test_a_fault_of_the_job_costs_no_time(tmp_path: Path):
    far = Far()
    far.fault, far.well = InputFault("wrong", "wrong"), False
    far.end.set()
    bench = Bench(far, tmp_path)
    with pytest.raises(InputFault):
        await bench.run()
    assert bench.slots.free == 1


@pytest.mark.parametrize(
    ("limits", "fault"),
    [({"stalled_after_s": 0.05}, ("host", "stalled")), ({"time_left_s": 0.05}, ("job", "timed_out"))],
)
async def test_limits_end_the_attempt_and_not_the_call(tmp_path: Path, limits, fault):
    far = Far()
    bench = Bench(far, tmp_path)
    with pytest.raises(Faulted) as caught:
        await bench.run(**limits)
    assert (caught.value.kind, caught.value.code) == fault
    assert not await free(bench.slots, 0.1)
    far.end.set()
    assert await free(bench.slots)


async def test_at_the_end_nothing_is_waited_for(tmp_path: Path):
    far = Far()
    bench = Bench(far, tmp_path, linger_s_max=60.0)
    call = asyncio.create_task(bench.run())
    await far.began.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    async with asyncio.timeout(10):
        await bench.executor.aclose()

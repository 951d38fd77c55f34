"""Jobs given to this worker directly, over its own HTTP: same slots, same engines, once per job id."""

import asyncio
import contextlib
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import Fault, OutputFile, Phase
from worker_image.deliver.delivery import Delivery
from worker_image.deliver.destination import Facts, Stored
from worker_image.engines.base import MadeFile
from worker_image.execute import Ears, Made, Runs, Work
from worker_image.faults import from_exception
from worker_image.host.process import Step
from worker_image.media.fetch import Fetcher
from worker_image.slots import Slots
from worker_image.upload import Handover, hand_over

KEPT_MAX = 32
CANCELLED = Fault(kind="job", code="cancelled", message="The job was cancelled.")


class Busy(Exception):
    """Every slot is taken."""


class Unknown(Exception):
    """No job here has that id."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a result, and where else it was stored. What was stored elsewhere is not kept here."""

    made: MadeFile
    size_bytes: int
    sha256: str
    stored: tuple[Stored, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A local job. With a `handover` its files go to an orchestrator's storage, and are not kept here.

    `deliver` sends them to the owner's buckets, and to `OUTPUT_DIR`, as far as there are any; with `keep` they stay
    here, too.
    """

    job_id: str
    engine: str
    model: str | None
    input: dict[str, Any]
    handover: Handover | None = None
    deliver: bool = False
    keep: bool = False

    def wants_the_same(self, other: "Asked") -> bool:
        return (self.engine, self.model, self.input) == (other.engine, other.model, other.input)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a local job ended: what it made, or the fault. `stored` are files that were handed over."""

    made: Made | None = None
    files: tuple[LocalFile, ...] = ()
    stored: tuple[OutputFile, ...] = ()
    fault: Fault | None = None


@dataclass(slots=True)
class _Job:
    """One job, running or ended. `news` is set at each step, and then exchanged."""

    asked: Asked
    folder: Path
    holds_slot: bool = True
    task: "asyncio.Task[Answer] | None" = None
    step: Step | None = None
    cancelled: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, step: Step) -> None:
        self.step = step
        self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()


class LocalJobs:
    """Answers are kept, the newest `KEPT_MAX` of them, with their files."""

    def __init__(
        self,
        executor: Runs,
        slots: Slots,
        fetcher: Fetcher,
        folder: Path,
        delivery: Delivery | None = None,
    ) -> None:
        self._executor = executor
        self.delivery = delivery or Delivery()
        self._slots = slots
        self._fetcher = fetcher
        self._folder = folder
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    async def run(self, asked: Asked) -> Answer:
        """Runs the job, joins it where it runs already, or repeats its answer. A fault of the host is forgotten.

        Whoever stops waiting leaves the job alone; `cancel` ends it.

        Raises:
            Busy: no slot is free.
        """
        return await asyncio.shield(self.begin(asked))

    def begin(self, asked: Asked) -> "asyncio.Task[Answer]":
        """The task of the job. Raises: Busy."""
        job = self._known(asked.job_id)
        if job is None or job.task is None:
            if not self._slots.take():
                raise Busy
            job = _Job(asked, self._folder / uuid4().hex)
            job.task = asyncio.create_task(self._run(job, asked))
            self._jobs[asked.job_id] = job
            self._forget_oldest()
        assert job.task is not None  # noqa: S101  It was made with the job.
        return job.task

    def clashes(self, asked: Asked) -> bool:
        """Whether there is a job of that id that wants something else."""
        job = self._known(asked.job_id)
        return job is not None and not job.asked.wants_the_same(asked)

    async def follow(self, job_id: str) -> AsyncIterator[Step]:
        """The newest step whenever there is one, until the job has ended."""
        job, told = self._jobs.get(job_id), None
        while job is not None:
            if job.step is not None and job.step != told:
                told = job.step
                yield told
            elif job.done:
                return
            else:
                await job.news.wait()

    def answer(self, job_id: str) -> Answer | None:
        """How the job ended; None while it runs. Raises: Unknown."""
        job = self._jobs.get(job_id)
        if job is None or job.task is None:
            raise Unknown
        return job.task.result() if job.done and not job.task.cancelled() else None

    def cancel(self, job_id: str) -> bool:
        """Ends a running job; its answer is a fault. False where there is none."""
        job = self._jobs.get(job_id)
        if job is None or job.task is None or job.done:
            return False
        job.cancelled = True
        job.task.cancel()
        return True

    def file(self, job_id: str, name: str) -> LocalFile:
        """Raises `Unknown` where there is no such job or file."""
        job = self._known(job_id)
        if job is None or job.task is None or not job.done:
            raise Unknown
        kept = (file for file in job.task.result().files if not file.stored)
        found = next((file for file in kept if file.made.name == name), None)
        if found is None:
            raise Unknown
        return found

    async def drain(self, grace_s: float) -> None:
        """Running jobs get the grace, then they are ended."""
        if self.running:
            await asyncio.wait(self.running, timeout=grace_s)
        await self.stop()

    async def stop(self) -> None:
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.aclose()

    @property
    def running(self) -> "set[asyncio.Task[Answer]]":
        return {job.task for job in self._jobs.values() if job.task is not None and not job.done}

    def _known(self, job_id: str) -> _Job | None:
        job = self._jobs.get(job_id)
        if job is None or job.task is None or not job.done:
            return job
        task = job.task
        failed = task.cancelled() or ((fault := task.result().fault) is not None and fault.kind == "host")
        return None if failed or job.cancelled else job

    def _forget_oldest(self) -> None:
        done = [job_id for job_id, job in self._jobs.items() if job.done]
        for job_id in done[: max(0, len(self._jobs) - KEPT_MAX)]:
            shutil.rmtree(self._jobs.pop(job_id).folder, ignore_errors=True)

    async def _run(self, job: _Job, asked: Asked) -> Answer:
        try:
            job.folder.mkdir(parents=True)
            return await self._answer(job, asked)
        except asyncio.CancelledError:
            shutil.rmtree(job.folder, ignore_errors=True)
            if not job.cancelled:
                raise
            return Answer(fault=CANCELLED)
        except Exception as error:  # noqa: BLE001  Whatever it is, it is this job's answer.
            await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)
            return Answer(fault=from_exception(error).wire())
        finally:
            self._release(job)
            asyncio.get_running_loop().call_soon(job.wake)

    def _release(self, job: _Job) -> None:
        if job.holds_slot:
            job.holds_slot = False
            self._slots.give()

    async def _answer(self, job: _Job, asked: Asked) -> Answer:
        """Once it is made, the next job may run while this one's files are under way."""
        made = await self._make(job, asked)
        self._release(job)
        job.note(Step(Phase.UPLOADING, 0.0))
        if asked.handover is not None:
            stored = await hand_over(asked.handover, made.outcome.files, self.delivery.direct_for)
            await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)
            return Answer(made, stored=stored)
        return Answer(made, await self._deliver(job, asked, made))

    async def _make(self, job: _Job, asked: Asked) -> Made:
        spec = CATALOGUE[asked.engine]
        own = (asked.job_id, asked.engine, asked.model, asked.input)
        work = Work(*own, job.folder, spec.urls(asked.input), spec.stalled_after_s)
        if asked.handover is None:
            return await self._executor.run(work, self._fetcher, Ears(job.note))
        async with contextlib.aclosing(self._fetcher.also(asked.handover.orchestrator)) as fetcher:
            return await self._executor.run(work, fetcher, Ears(job.note))

    async def _deliver(self, job: _Job, asked: Asked, made: Made) -> tuple[LocalFile, ...]:
        outcome = made.outcome
        delivery = self.delivery if asked.deliver else Delivery()
        facts = Facts(asked.job_id, asked.engine, outcome.model, made.backend, outcome.metrics)
        delivered = await delivery.deliver(outcome, facts)
        if delivery.stores and not asked.keep:
            await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)
        return tuple(
            LocalFile(file, content.size_bytes, content.sha256, stored)
            for file, (content, stored) in zip(outcome.files, delivered, strict=True)
        )

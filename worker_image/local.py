"""Jobs given to this worker directly, over its own HTTP: same slots, same engines, once per job id."""

import asyncio
import contextlib
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import Fault, OutputFile
from worker_image.engines.base import MadeFile
from worker_image.execute import Ears, Made, Runs, Work
from worker_image.faults import from_exception
from worker_image.media.fetch import Fetcher
from worker_image.slots import Slots
from worker_image.upload import Handover, hand_over, sha256_of

KEPT_MAX = 32


class Busy(Exception):
    """Every slot is taken."""


class Unknown(Exception):
    """No job here has that id."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    made: MadeFile
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A local job. With a `handover` its files go to an orchestrator's storage, and are not kept here."""

    job_id: str
    engine: str
    model: str | None
    input: dict[str, Any]
    handover: Handover | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How a local job ended: what it made, or the fault. `stored` are files that were handed over."""

    made: Made | None = None
    files: tuple[LocalFile, ...] = ()
    stored: tuple[OutputFile, ...] = ()
    fault: Fault | None = None


class LocalJobs:
    """Answers are kept, the newest `KEPT_MAX` of them, with their files."""

    def __init__(self, executor: Runs, slots: Slots, fetcher: Fetcher, folder: Path) -> None:
        self._executor = executor
        self._slots = slots
        self._fetcher = fetcher
        self._folder = folder
        self._jobs: OrderedDict[str, tuple[asyncio.Task[Answer], Path]] = OrderedDict()

    async def run(self, asked: Asked) -> Answer:
        """Runs the job, joins it where it runs already, or repeats its answer. A fault of the host is forgotten.

        Raises:
            Busy: no slot is free.
        """
        task = self._known(asked.job_id)
        if task is None:
            if not self._slots.take():
                raise Busy
            folder = self._folder / uuid4().hex
            task = asyncio.create_task(self._run(folder, asked))
            self._jobs[asked.job_id] = (task, folder)
            self._forget_oldest()
        return await asyncio.shield(task)

    def file(self, job_id: str, name: str) -> LocalFile:
        """Raises `Unknown` where there is no such job or file."""
        task = self._known(job_id)
        if task is None or not task.done():
            raise Unknown
        found = next((file for file in task.result().files if file.made.name == name), None)
        if found is None:
            raise Unknown
        return found

    async def stop(self) -> None:
        tasks = [task for task, _ in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.aclose()

    @property
    def running(self) -> set[asyncio.Task[Answer]]:
        return {task for task, _ in self._jobs.values() if not task.done()}

    def _known(self, job_id: str) -> asyncio.Task[Answer] | None:
        task, _ = self._jobs.get(job_id, (None, None))
        if task is None or not task.done():
            return task
        failed = task.cancelled() or ((fault := task.result().fault) is not None and fault.kind == "host")
        return None if failed else task

    def _forget_oldest(self) -> None:
        done = [job_id for job_id, (task, _) in self._jobs.items() if task.done()]
        for job_id in done[: max(0, len(self._jobs) - KEPT_MAX)]:
            _, folder = self._jobs.pop(job_id)
            shutil.rmtree(folder, ignore_errors=True)

    async def _run(self, folder: Path, asked: Asked) -> Answer:
        try:
            folder.mkdir(parents=True)  # noqa: ASYNC240  A new folder on the local disk.
            return await self._answer(folder, asked)
        except Exception as error:  # noqa: BLE001  Whatever it is, it is this job's answer.
            return Answer(fault=from_exception(error).wire())
        finally:
            self._slots.give()

    async def _answer(self, folder: Path, asked: Asked) -> Answer:
        spec = CATALOGUE[asked.engine]
        inputs = {name: asked.input[name] for name in spec.url_fields if asked.input.get(name)}
        own = (asked.job_id, asked.engine, asked.model, asked.input)
        work = Work(*own, folder, inputs, spec.stalled_after_s)
        if asked.handover is None:
            made = await self._executor.run(work, self._fetcher, Ears(lambda _: None))
            return Answer(made, tuple([await _described(file) for file in made.outcome.files]))
        async with contextlib.aclosing(self._fetcher.also(asked.handover.orchestrator)) as fetcher:
            made = await self._executor.run(work, fetcher, Ears(lambda _: None))
        stored = await hand_over(asked.handover, made.outcome.files)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return Answer(made, stored=stored)


async def _described(file: MadeFile) -> LocalFile:
    path = Path(file.path)
    return LocalFile(file, path.stat().st_size, await asyncio.to_thread(sha256_of, path))  # noqa: ASYNC240

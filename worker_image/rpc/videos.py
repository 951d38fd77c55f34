"""Videos that were asked for by gRPC: one for each id, whoever follows it, and put where it was asked to be."""

import asyncio
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from gpulease.contract.jobs import Fault
from worker_image.faults import HostFault
from worker_image.host.process import Step
from worker_image.local import KEPT_MAX, Answer, LocalFile, LocalJobs
from worker_image.rpc.asked import Terms, Wanted

STOPPED = Fault(kind="host", code="worker_stopped", message="The worker stops; ask again, here or elsewhere.")
_KIND = "video/"


class Clash(Exception):
    """There is a job of that id, and it wants something else."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a video ended: where it lies, or the fault. `s3_url` and `etag` where the worker stored it itself."""

    fault: Fault | None = None
    path: Path | None = None
    size_bytes: int = 0
    s3_url: str = ""
    etag: str = ""


@dataclass(slots=True)
class Video:
    """One job, running or ended. `answering` is its task among the local jobs."""

    wanted: Wanted
    answering: "asyncio.Task[Answer]"
    task: "asyncio.Task[Ended] | None" = None
    step: Step | None = None

    @property
    def id(self) -> str:
        return self.wanted.asked.job_id

    @property
    def ended(self) -> Ended | None:
        return self.task.result() if self.task is not None and self.task.done() else None


class Videos:
    """What is kept of a job that nobody follows is its answer, with those of the local jobs."""

    def __init__(self, jobs: LocalJobs, terms: Terms) -> None:
        self.terms = terms
        self._jobs = jobs
        self._videos: OrderedDict[str, Video] = OrderedDict()

    def begin(self, wanted: Wanted) -> Video:
        """Begins it, joins it, or finds it done. Raises: Busy. Clash."""
        if self._jobs.clashes(wanted.asked):
            raise Clash
        answering = self._jobs.begin(wanted.asked)
        video = self._videos.get(wanted.asked.job_id)
        if video is None or video.answering is not answering:
            video = Video(wanted, answering)
            video.task = asyncio.create_task(self._run(video))
            self._videos[video.id] = video
            self._forget_oldest()
        return video

    def find(self, job_id: str) -> Video | None:
        return self._videos.get(job_id)

    def cancel(self, job_id: str) -> bool:
        return self._jobs.cancel(job_id)

    async def ended(self, video: Video, wanted: Wanted) -> Ended:
        """Its end, with the video in the folder of this wish, which may be another than that of the first."""
        assert video.task is not None  # noqa: S101  It was made with the video.
        ended = await asyncio.shield(video.task)
        if ended.path is None or wanted.folder in (None, video.wanted.folder):
            return ended
        return await self._put(ended, video.id, wanted.folder)

    async def _run(self, video: Video) -> Ended:
        watching = asyncio.create_task(self._watch(video))
        await asyncio.wait({video.answering})
        watching.cancel()
        if video.answering.cancelled():
            return Ended(STOPPED)
        ended = ended_of(video.answering.result())
        if ended.path is None or video.wanted.folder is None:
            return ended
        return await self._put(ended, video.id, video.wanted.folder)

    async def _watch(self, video: Video) -> None:
        async for step in self._jobs.follow(video.id):
            video.step = step

    async def _put(self, ended: Ended, job_id: str, folder: Path) -> Ended:
        assert ended.path is not None  # noqa: S101  There is nothing else to put.
        try:
            path = await asyncio.to_thread(self._copy, ended.path, job_id, folder)
        except (OSError, ValueError) as error:
            return Ended(HostFault("scratch_failed", f"scratch_dir: {error}").wire())
        return Ended(None, path, ended.size_bytes, ended.s3_url, ended.etag)

    def _copy(self, path: Path, job_id: str, folder: Path) -> Path:
        """Whole or not at all. The folder is looked at again, since others write there."""
        target = self.terms.check_folder(folder) / f"{job_id}{path.suffix}"
        partial = target.with_name(f".{uuid4().hex}")
        try:
            with path.open("rb") as source, partial.open("xb") as sink:
                shutil.copyfileobj(source, sink)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _forget_oldest(self) -> None:
        done = [job_id for job_id, video in self._videos.items() if video.ended is not None]
        for job_id in done[: max(0, len(self._videos) - KEPT_MAX)]:
            del self._videos[job_id]


def ended_of(answer: Answer) -> Ended:
    if answer.fault is not None:
        return Ended(answer.fault)
    found = next((one for one in answer.files if one.made.content_type.startswith(_KIND)), None)
    if found is None:
        return Ended(Fault(kind="job", code="no_video", message="The job of that id made no video."))
    return _located(found)


def _located(found: LocalFile) -> Ended:
    """A bucket of S3's kind is told of before others. A file that was stored elsewhere may not be here any more."""
    here = Path(found.made.path)
    kept = here if here.is_file() else None
    stored = next(iter(sorted(found.stored, key=lambda one: one.kind != "minio")), None)
    if stored is None:
        return Ended(None, kept, found.size_bytes)
    return Ended(None, kept, found.size_bytes, f"s3://{stored.bucket}/{stored.key}", stored.etag or "")

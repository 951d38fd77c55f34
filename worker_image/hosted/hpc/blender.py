"""`blender` on a render machine elsewhere, through a folder that both sides see."""

import asyncio
import contextlib
import json
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import BlenderInput
from gpulease.contract.jobs import Phase
from provider_clients.static import StaticMachine
from worker_image.engines.base import MadeFile, Outcome, Report
from worker_image.engines.blender import (
    MARK,
    OPTIONS,
    SCRIPT,
    check_frames,
    frame_name,
    frame_numbers,
    parameters_for,
    project_of,
    result_of,
)
from worker_image.engines.program import Ended
from worker_image.execute import Made
from worker_image.faults import HostFault, InputFault
from worker_image.hosted.hpc.client import Hpc, HpcTask, Unanswered
from worker_image.hosted.remote import RemoteJob

POLL_S = 1.0
SILENCE_S_MAX = 60.0
"""A machine may be out of reach for so long, and its render goes on."""
ENGINE = "blender"
TOLD = Path(__file__).with_name("told.py")
_SAFE = re.compile(r"[A-Za-z0-9_./:-]+")
"""What no way of splitting a line of arguments takes apart."""


@dataclass(frozen=True, slots=True)
class Share:
    """One folder a task, as this side and as that side call it."""

    here: Path
    there: str

    @classmethod
    def of(cls, machine: StaticMachine, task_id: int) -> "Share":
        here, there = Path(str(machine.shared_here)), str(machine.shared_there).rstrip("/")
        return cls(here / str(task_id), f"{there}/{task_id}")


class HpcBlender:
    name = "hpc-blender"
    fetches = True

    def __init__(self, machine: StaticMachine, hpc: Hpc, *, poll_s: float = POLL_S) -> None:
        self._machine = machine
        self._hpc = hpc
        self._poll_s = poll_s

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        if reason := unusable(self._machine):
            return reason
        try:
            found = (await self._hpc.status()).engine_ids
        except HostFault as fault:
            return fault.message
        engine_id = self._machine.engines[ENGINE]
        if engine_id.lower() not in {one.lower() for one in found}:
            return f"the machine has no engine {engine_id}; it has {', '.join(found) or 'none'}"
        return (EngineOffer(engine=ENGINE, backend=self.name),)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        asked = BlenderInput.model_validate(job.input)
        frames = frame_numbers(asked.frames)
        if asked.output == "MP4" and find_spec("av") is None:
            raise InputFault("film_unsupported", "this worker cannot encode MP4; ask for PNG frames")
        share = Share.of(self._machine, job.attempt)
        try:
            await asyncio.to_thread(_put, job, asked, frames, share)
            task = await self._render(job.attempt, share, len(frames), report)
            await asyncio.to_thread(_take, share, job.out)
            told = await asyncio.to_thread(_told, share)
        finally:
            await asyncio.to_thread(shutil.rmtree, share.here, ignore_errors=True)
        report(0.0, "checking the frames", phase=Phase.ENCODING)
        made, outcome = await asyncio.to_thread(_outcome, job, asked, told, task)
        return Made(self.name, Outcome(files=(made,), **outcome))

    async def stop(self, attempt: int) -> None:
        await self._hpc.stop(attempt)

    async def _render(self, task_id: int, share: Share, frames: int, report: Report) -> HpcTask:
        await self._start(task_id, share)
        ended = False
        try:
            while (task := await self._task(task_id)).running:
                done = min(len(list((share.here / "out").glob("frame_*"))), frames)
                message = f"{task.seconds:.0f} s, frame {min(done + 1, frames)} of {frames}"
                report(min(done / frames, 0.99), message, step=done, total_steps=frames)
                await asyncio.sleep(self._poll_s)
            ended = True
            return task
        finally:
            if not ended:
                with contextlib.suppress(HostFault):
                    await self._hpc.stop(task_id)

    async def _start(self, task_id: int, share: Share) -> None:
        now = (await self._hpc.status()).task
        if now is not None and now.running:
            raise HostFault("machine_busy", f"the machine is busy with task {now.id}, which is not ours")
        engine_id = self._machine.engines[ENGINE]
        with contextlib.suppress(Unanswered):  # Whether it was started the status tells.
            await self._hpc.start(engine_id, task_id, arguments(share))

    async def _task(self, task_id: int) -> HpcTask:
        """Our task, and nobody else's."""
        clock = asyncio.get_running_loop()
        silent_since = clock.time()
        while True:
            try:
                task = (await self._hpc.status()).task
                break
            except Unanswered:
                if clock.time() - silent_since > SILENCE_S_MAX:
                    raise
                await asyncio.sleep(self._poll_s)
        if task is None or task.id != task_id:
            what = "no task" if task is None else f"task {task.id}"
            raise HostFault("render_forgotten", f"the machine knows {what} and not {task_id}: it began anew")
        return task


def unusable(machine: StaticMachine) -> str | None:
    """Why no render can be sent there, whatever it says."""
    if ENGINE not in machine.engines:
        return f"{machine.name} is listed without an engine {ENGINE}"
    if machine.shared_here is None or machine.shared_there is None:
        return f"{machine.name} has no folder that both sides see (shared_here, shared_there)"
    if not _SAFE.fullmatch(machine.shared_there):
        return f"shared_there of {machine.name} has letters that its arguments cannot carry: {machine.shared_there!r}"
    if not Path(machine.shared_here).is_dir():
        return f"shared_here of {machine.name} is no folder: {machine.shared_here}"
    return None


def arguments(share: Share) -> str:
    """One line. Some machines take its first word for the program, others do not: it may be lost, and may be kept."""
    there = share.there
    script = ("--python", f"{there}/told.py", "--", f"{there}/parameters.json")
    words = ("-b", *OPTIONS, f"{there}/project.blend", *script)
    if not all(map(_SAFE.fullmatch, words)):
        raise HostFault("path_unsafe", f"{there!r} has letters that arguments cannot carry")
    return " ".join(words)


def _put(job: RemoteJob, asked: BlenderInput, frames: list[int], share: Share) -> None:
    """What an attempt of the same number once left there is of nobody any more."""
    shutil.rmtree(share.here, ignore_errors=True)
    (share.here / "out").mkdir(parents=True)
    shutil.move(project_of(job), share.here / "project.blend")
    shutil.copyfile(SCRIPT, share.here / "render.py")
    shutil.copyfile(TOLD, share.here / "told.py")
    (share.here / "parameters.json").write_text(parameters_for(asked, frames, f"{share.there}/out"))


def _take(share: Share, out: Path) -> None:
    """Only what we asked for: whoever else writes there could leave links."""
    for path in (share.here / "out").iterdir():
        if path.is_file() and not path.is_symlink() and path.name.startswith("frame_"):
            shutil.move(path, out / path.name)


def _told(share: Share) -> list[str]:
    path = share.here / "told"
    if not path.is_file() or path.is_symlink():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _outcome(
    job: RemoteJob, asked: BlenderInput, told: list[str], task: HpcTask
) -> tuple[MadeFile, dict[str, Any]]:
    facts: dict[str, Any] = {}
    for line in told:
        if line.startswith(MARK):
            facts |= json.loads(line.removeprefix(MARK))
    if not facts:
        raise HostFault("render_failed", "Blender said nothing: it did not start, or does not see the folder")
    made = [job.out / frame_name(frame, asked) for frame in frame_numbers(asked.frames)]
    check_frames(made, Ended(0 if task.succeeded else 1, "\n".join(told[-12:])), facts)
    outcome = {
        "model": facts.get("version"),
        "data": {"frames": len(made), "render_engine": facts.get("render_engine")},
        "ignored": tuple(facts.get("ignored", ())),
    }
    return result_of(job, asked, made, _silent), outcome


def _silent(*_: Any, **__: Any) -> None:
    """On a thread, progress cannot be told."""

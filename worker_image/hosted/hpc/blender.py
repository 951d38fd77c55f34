"""`blender` on a render machine elsewhere, through a folder that both sides see."""

import asyncio
import contextlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import BlenderInput
from gpulease.contract.jobs import Phase
from provider_clients.static import StaticMachine
from worker_image.engines.base import Outcome, Report
from worker_image.engines.blender.backend import check_film
from worker_image.engines.blender.plan import OPTIONS, PARAMETERS, SAFETY, SCRIPT, Plan, frame_numbers
from worker_image.engines.blender.project import lay_out
from worker_image.engines.blender.result import check_pictures, outcome_of
from worker_image.engines.blender.watch import Watch
from worker_image.engines.program import Ended
from worker_image.execute import Made
from worker_image.faults import HostFault
from worker_image.hosted.hpc.client import Hpc, HpcTask, Unanswered
from worker_image.hosted.remote import RemoteJob

POLL_S = 1.0
SILENCE_S_MAX = 60.0
"""A machine may be out of reach for so long, and its render goes on."""
ENGINE = "blender"
TOLD_BYTES_MAX = 8 * 1024 * 1024
_SAFE = re.compile(r"[A-Za-z0-9_./:-]+")
"""What no way of splitting a line of arguments takes apart."""
_LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Share:
    """One folder a task, as this side and as that side call it."""

    here: Path
    there: str

    @classmethod
    def of(cls, machine: StaticMachine, task_id: int) -> "Share":
        here, there = Path(str(machine.shared_here)), str(machine.shared_there).rstrip("/")
        return cls(here / str(task_id), f"{there}/{task_id}")

    def told(self) -> list[str]:
        """Whole lines of what the script told so far. Whoever else writes there could leave links."""
        path = self.here / "told"
        if not path.is_file() or path.is_symlink():
            return []
        with path.open("rb") as file:
            whole = file.read(TOLD_BYTES_MAX).rpartition(b"\n")[0]
        return whole.decode("utf-8", "replace").splitlines()


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
        frames = tuple(frame_numbers(asked.frames))
        check_film(asked)
        share = Share.of(self._machine, job.attempt)
        try:
            plan = await asyncio.to_thread(_put, job, asked, frames, share)
            watch = Watch(report, plan.mark, len(frames))
            task = await self._render(job.attempt, share, watch)
            told = await asyncio.to_thread(share.told)
            await asyncio.to_thread(_take, share, job.out)
        finally:
            await asyncio.to_thread(shutil.rmtree, share.here, ignore_errors=True)
        report(0.0, "checking the frames", phase=Phase.ENCODING)
        return Made(self.name, await asyncio.to_thread(_outcome, job, plan, told, task))

    async def stop(self, attempt: int) -> None:
        await self._hpc.stop(attempt)

    async def _render(self, task_id: int, share: Share, watch: Watch) -> HpcTask:
        await self._start(task_id, share)
        ended = False
        try:
            while (task := await self._task(task_id)).running:
                told = await asyncio.to_thread(share.told)
                _show(watch, told, task)
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
    words = ("-b", *OPTIONS, "--python", f"{there}/{SCRIPT.name}", "--", f"{there}/{PARAMETERS}")
    if not all(map(_SAFE.fullmatch, words)):
        raise HostFault("path_unsafe", f"{there!r} has letters that arguments cannot carry")
    return " ".join(words)


def _put(job: RemoteJob, asked: BlenderInput, frames: tuple[int, ...], share: Share) -> Plan:
    """What an attempt of the same number once left there is of nobody any more."""
    shutil.rmtree(share.here, ignore_errors=True)
    share.here.mkdir(parents=True)
    plan = Plan(asked, frames, lay_out(job.files, share.here), told=True)
    for script in (SCRIPT, SAFETY):
        shutil.copyfile(script, share.here / script.name)
    plan.write(share.here)
    return plan


def _show(watch: Watch, told: list[str], task: HpcTask) -> None:
    for line in told:
        watch.note(line)
    done = watch.facts.get("done", 0)
    message = f"{task.seconds:.0f} s, picture {min(done + 1, watch.total)} of {watch.total}"
    watch.report(min(done / watch.total, 0.99), message, step=done, total_steps=watch.total)


def _take(share: Share, out: Path) -> None:
    """Only what we asked for: whoever else writes there could leave links."""
    for path in (share.here / "out").iterdir():
        if path.is_file() and not path.is_symlink() and path.name.startswith("frame_"):
            shutil.move(path, out / path.name)


def _outcome(job: RemoteJob, plan: Plan, told: list[str], task: HpcTask) -> Outcome:
    watch = Watch(_silent, plan.mark, len(plan.frames))
    for line in told:
        watch.note(line)
    if not watch.facts:
        raise HostFault("render_failed", "Blender said nothing: it did not start, or does not see the folder")
    last = "\n".join(told[-_LAST_LINES:])
    check_pictures(plan, job.out, Ended(0 if task.succeeded else 1, last), watch.facts)
    return outcome_of(plan, Path(job.folder), watch.facts, _silent)


def _silent(*_: object, **__: object) -> None:
    """On a thread, progress cannot be told."""

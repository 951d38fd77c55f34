"""The one render that a farm may have running here, and what is remembered of the last one."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import structlog

from worker_image.engines.confined import confined
from worker_image.settings import engine_environment
from worker_image.slots import Slots
from worker_image.web.hpc.arguments import INVALID, Refused, vector
from worker_image.web.hpc.engines import Engine, Farm

STOP_S_MAX = 3.0
_LAST_LETTERS = 2_000
_CACHES = ("HOME", "XDG_CACHE_HOME", "CUDA_CACHE_PATH", "OPTIX_CACHE_PATH")

_log = structlog.get_logger()


@dataclass(slots=True)
class Render:
    """One task. `ended` and `succeeded` are of its program."""

    task_id: int
    began: float
    keeper: asyncio.subprocess.Process | None = None
    ended: float | None = None
    succeeded: bool = False

    def shown(self) -> dict[str, Any]:
        until = time.monotonic() if self.ended is None else self.ended
        return {
            "TaskId": self.task_id,
            "IsSuccess": self.succeeded,
            "IsRunning": self.ended is None,
            "TotalSeconds": int(until - self.began),
        }


class Renders:
    """A render holds one of the worker's slots, so that no agent claims beside it."""

    def __init__(self, farm: Farm, slots: Slots, folder: Path) -> None:
        self._farm = farm
        self._slots = slots
        self._folder = folder
        self._last: Render | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def running(self) -> Render | None:
        return self._last if self._last is not None and self._last.ended is None else None

    def status(self) -> dict[str, Any]:
        task = self._last.shown() if self._last else None
        return {"EngineIds": self._farm.ids(), "Task": task}

    async def start(self, engine_id: str, task_id: int, arguments: str) -> str:
        """Raises: Refused."""
        if self.running or self._closed:
            raise Refused("There already is an active render!")
        engine = self._farm.engine(engine_id)
        if engine is None:
            raise Refused(f"Requested rendering engine is not configured: {engine_id}")
        argv = vector(self._farm, engine, arguments)
        if not self._slots.take():
            raise Refused("This machine is busy with another job!")
        before, self._last = self._last, Render(task_id, time.monotonic())
        try:
            self._last.keeper = await self._keeper(engine, argv)
        except OSError as error:
            self._last = before
            self._slots.give()
            raise Refused(f"{INVALID} {error.strerror}") from error
        except BaseException:
            self._last = before
            self._slots.give()
            raise
        self._watch = asyncio.create_task(self._until_end(self._last, self._last.keeper))
        if self._closed:
            await self._end(self._last)
        return f"Rendering using engine with identifier: {engine.id}"

    async def stop(self, task_id: int) -> tuple[bool, str]:
        """Whether nothing of that task runs because of this, and what to say."""
        running = self.running
        if running is None:
            return True, "No active render!"
        if running.task_id != task_id:
            return False, f"No active render with task identifier {task_id}!"
        await self._end(running)
        return True, "Active render terminated!"

    async def aclose(self) -> None:
        self._closed = True
        if self.running is not None:
            await self._end(self.running)

    async def _keeper(self, engine: Engine, argv: list[str]) -> asyncio.subprocess.Process:
        work, cache = self._folder / "work", self._folder / "cache"
        shutil.rmtree(work, ignore_errors=True)
        for folder in (work, cache):
            folder.mkdir(parents=True, exist_ok=True)
        if engine.is_blender and self._farm.folders:
            argv = confined(argv, [str(self._folder), *map(str, self._farm.folders)])
        caches = dict.fromkeys(_CACHES, str(cache)) if engine.is_blender else {}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "worker_image.web.hpc.keeper", str(self._farm.seconds_max), *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=work,
            env=engine_environment(cache) | caches,
            start_new_session=True,
        )

    async def _until_end(self, render: Render, keeper: asyncio.subprocess.Process) -> None:
        assert keeper.stdout is not None  # noqa: S101  We asked for a pipe.
        try:
            last = (await keeper.stdout.read()).decode("utf-8", "replace")
            render.succeeded = await keeper.wait() == 0
        finally:
            with contextlib.suppress(
                ProcessLookupError, PermissionError
            ):  # A keeper that was killed kept nothing.
                os.killpg(keeper.pid, signal.SIGKILL)
            render.ended = time.monotonic()
            self._slots.give()
        _log.info(
            "hpc_ended",
            task=render.task_id,
            succeeded=render.succeeded,
            last=None if render.succeeded else last[-_LAST_LETTERS:],
        )

    async def _end(self, render: Render) -> None:
        """The keeper ends the render when it is let go; one that does not is killed with all it has."""
        if render.keeper is None or self._watch is None:
            return
        if render.keeper.stdin is not None:
            render.keeper.stdin.close()
        done, _ = await asyncio.wait({self._watch}, timeout=STOP_S_MAX)
        if done:
            return
        with contextlib.suppress(psutil.Error):
            keeper = psutil.Process(render.keeper.pid)
            for process in (*keeper.children(recursive=True), keeper):
                process.kill()
        await asyncio.wait({self._watch}, timeout=STOP_S_MAX)

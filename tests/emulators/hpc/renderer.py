"""The one program that a render node runs at a time, and what it remembers of the last one."""

import asyncio
import contextlib
import os
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Self

INVALID = "Invalid render arguments!"


class Refused(Exception):
    """Answered with 400."""


class Renderer:
    """As in the original, a start that is refused for its engine or arguments is remembered as the last task."""

    def __init__(self, engines: Mapping[str, str], folder: str, orphans: Self | None = None) -> None:
        self._engines = engines
        self._folder = folder
        self._orphans = orphans
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._task_id = 0
        self._succeeded = True
        self._began = 0.0
        self._ended: float | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._ended is None

    def task(self) -> dict[str, Any] | None:
        if self._process is None:
            return None
        until = time.monotonic() if self._ended is None else self._ended
        return {
            "TaskId": self._task_id,
            "IsSuccess": self._succeeded,
            "IsRunning": self.running,
            "TotalSeconds": int(until - self._began),
        }

    async def start(self, asked: Any) -> str:
        """Raises `Refused`, or `OSError` where the executable is missing."""
        if self.running:
            raise Refused("There already is an active render!")
        self._task_id, self._succeeded = _task_id(asked), False
        engine, arguments = asked.get("EngineId"), asked.get("Arguments")
        if not isinstance(engine, str) or not isinstance(arguments, str):
            raise Refused(INVALID)
        executable = self._executable(engine)
        self._process = await asyncio.create_subprocess_exec(
            executable,
            *_vector(executable, engine, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._folder,
            start_new_session=True,
        )
        self._began, self._ended = time.monotonic(), None
        self._watch = asyncio.create_task(self._until_end(self._process))
        return f"Rendering using engine with identifier: {engine}"

    async def stop(self, asked: Any) -> str:
        """Raises `Refused` where another task runs."""
        if not self.running:
            return "No active render!"
        if _task_id(asked) != self._task_id:
            raise Refused("No process running with provided task identifier!")
        self._kill()
        return "Active render terminated!"

    async def aclose(self) -> None:
        self._kill()
        if self._watch is not None:
            await self._watch
        if self._orphans is not None:
            await self._orphans.aclose()

    def _executable(self, engine: str) -> str:
        named = {name.lower(): path for name, path in self._engines.items()}
        try:
            return named[engine.lower()]
        except KeyError:
            raise Refused(f"Requested rendering engine is not configured: {engine}") from None

    async def _until_end(self, process: asyncio.subprocess.Process) -> None:
        self._succeeded = await process.wait() == 0
        self._ended = time.monotonic()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _task_id(asked: Any) -> int:
    found = asked.get("TaskId") if isinstance(asked, dict) else None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**64:
        raise Refused(INVALID)
    return found


def _vector(executable: str, engine: str, arguments: str) -> list[str]:
    """The words of the arguments; a first word that only names the program again is left out."""
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise Refused(INVALID) from error
    return words[1:] if words and words[0] in (engine, executable, PurePath(executable).name) else words

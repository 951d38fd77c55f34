"""The parent's side of one engine process: start it, give it a job, take the job back, end it with all its kin."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, Outcome
from worker_image.faults import GPU_CODES, HostFault, wire_to_fault
from worker_image.host.log import JobLog
from worker_image.settings import engine_environment

CANCEL_GRACE_S = 1.2
"""A job that is taken back is gone within 2 s: an engine that does not heed this is killed with what it started."""

LOAD_S_MAX = 900.0
UNLOAD_S_MAX = 2.0
START_S_MAX = 60.0
LINE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a job inside its engine. `gpu_util` is a share of 1."""

    phase: Phase
    share: float
    message: str | None = None
    step: int | None = None
    total_steps: int | None = None
    gpu_util: float | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that became resident: how long that took, and what it took at most."""

    model: str | None
    load_s: float
    peak_ram_kb: int
    peak_vram_mib: float


class EngineProcess:
    """One resident backend in a process group of its own. It runs one job at a time."""

    def __init__(self, backend: str, log_path: Path, process: asyncio.subprocess.Process) -> None:
        self.backend = backend
        self.model: str | None = None
        self.log_path = log_path
        self._process = process
        self._ended = False
        self._killed = False

    @classmethod
    async def start(cls, backend: str, config: EngineConfig, folder: Path) -> Self:
        """Starts the process in `folder`, which is its own.

        Raises:
            HostFault: it did not come up.
        """
        folder.mkdir(parents=True)  # noqa: ASYNC240  A new folder on the local disk.
        log_path = folder / "log"
        with log_path.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "worker_image.host.child", backend),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                cwd=folder,
                env=engine_environment(folder),
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        host, log = cls(backend, log_path, process), JobLog(log_path)
        try:
            async with asyncio.timeout(START_S_MAX):
                await host._tell("start", config=asdict(config))
                await host._hear(log)
        except BaseException as error:
            await host.end()
            if isinstance(error, TimeoutError):
                raise HostFault(
                    "engine_start", f"{backend} did not start within {START_S_MAX:.0f} s"
                ) from error
            raise
        return host

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    async def run(self, job: EngineJob, log: JobLog, on_step: Callable[[Step], None]) -> Outcome:
        """Runs one job. When the caller is cancelled the engine is asked to stop, and killed if it does not.

        Raises:
            Faulted: the job's or the machine's fault; a crash is the machine's.
        """
        try:
            await self._tell("run", job=asdict(job))
            return await self._until_done(log, on_step)
        except asyncio.CancelledError:
            try:
                await self._take_back(job.id)
            except asyncio.CancelledError:  # Whoever cancels twice does not want to wait.
                self.kill()
            raise

    async def load(self, model: str | None, load_s_max: float = LOAD_S_MAX) -> Loaded:
        """Makes the model resident (None: the best one here). The process ends if that fails.

        Raises:
            Faulted: it could not be loaded.
        """
        try:
            async with asyncio.timeout(load_s_max):
                await self._tell("load", model=model)
                loaded = _loaded(await self._hear(JobLog(self.log_path)))
        except BaseException as error:
            await self.end()
            if isinstance(error, TimeoutError):
                raise HostFault("load_timeout", f"not loaded within {load_s_max:.0f} s") from error
            raise
        self.model = loaded.model
        return loaded

    async def retire(self) -> None:
        """Ends it while it has no job. What its backend keeps on a server elsewhere goes first, if that is quick."""
        with contextlib.suppress(TimeoutError, HostFault):
            async with asyncio.timeout(UNLOAD_S_MAX):
                await self._tell("unload")
                await self._hear()
        await self.end()

    async def _until_done(self, log: JobLog, on_step: Callable[[Step], None]) -> Outcome:
        while True:
            said = await self._hear(log)
            match said.pop("is"):
                case "loaded":
                    self.model = said["model"]
                case "progress":
                    on_step(Step(**{**said, "phase": Phase(said["phase"])}))
                case "done":
                    return Outcome.from_json(said["outcome"])
                case "fault":
                    fault = wire_to_fault(**said["fault"])
                    if fault.code in GPU_CODES:
                        await self.end()
                    raise fault
                case other:
                    raise HostFault("engine_failed", f"{self.backend} said {other!r}")

    async def _take_back(self, job_id: str) -> None:
        with contextlib.suppress(TimeoutError, HostFault):
            async with asyncio.timeout(CANCEL_GRACE_S):
                await self._tell("cancel", job_id=job_id)
                while (await self._hear())["is"] not in ("done", "fault", "cancelled"):
                    pass
                return
        await self.end()

    async def _tell(self, do: str, **body: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101  We asked for a pipe.
        with contextlib.suppress(ConnectionError):  # Its end is heard where its replies are.
            self._process.stdin.write(json.dumps({"do": do, **body}).encode() + b"\n")
            await self._process.stdin.drain()

    async def _hear(self, log: JobLog | None = None) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  We asked for a pipe.
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            await self.end()
            last = (log or JobLog(self.log_path)).last_lines()
            raise HostFault(
                "engine_crashed", f"{self.backend} ended: {_how(self._process.returncode)}\n{last}"
            )
        said: dict[str, Any] = json.loads(line)
        return said

    def kill(self) -> None:
        """Kills the process, its group, and whatever left the group, at once. Safe to repeat."""
        if self._ended:  # The number of its group may be somebody else's by now.
            return
        self._killed = True
        doomed: list[psutil.Process] = []
        if self._process.returncode is None:
            with contextlib.suppress(psutil.Error):
                doomed = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in doomed:
            with contextlib.suppress(psutil.Error):
                process.kill()

    async def end(self) -> None:
        self.kill()
        self._ended = True
        self._close_pipes()  # A full one would keep `wait` for ever.
        await asyncio.shield(self._process.wait())

    def _close_pipes(self) -> None:
        """Not the whole transport: it would take the exit status from under whoever waits for it."""
        transport = getattr(self._process, "_transport", None)
        for number in (0, 1):
            if transport is not None and (pipe := transport.get_pipe_transport(number)) is not None:
                pipe.close()


def _loaded(said: dict[str, Any]) -> Loaded:
    if said.pop("is") == "fault":
        raise wire_to_fault(**said["fault"])
    return Loaded(**said)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"

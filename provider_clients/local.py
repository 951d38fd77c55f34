"""Worker processes on this machine, leased like any cloud's.

A worker is a process group of its own, which outlives us. It and all that it starts carry one environment variable,
the folder of their instance; that is how they are found again after a restart, when their parent has died, and
whatever became of their process ids.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from provider_clients.base import Account, Instance, LaunchSpec
from provider_clients.errors import NoCapacity, NotFound, Rejected
from scaling.snapshot import Capability, Estimate, Offer

MARK = "GPULEASE_INSTANCE"
GPU_CLASS = "cpu"
BOOT = Estimate(mean_s=2.0, p90_s=5.0, p99_s=60.0)
"""A process starts in two seconds, and on a machine that is busy with much else in many more."""
TERM_GRACE_S = 5.0
"""A worker asked to end may take so long before it is killed."""
LOGS_KEPT = 50
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SSL_CERT_FILE")
"""Nothing else of our environment reaches a process that we start, and so no provider's key does."""

Found = dict[str, list[psutil.Process]]
"""Processes by the tag of their instance."""


@dataclass(slots=True)
class LocalProvider:
    """`instances_dir` holds a folder an instance; `command` is what a worker runs, less `--instance FOLDER`."""

    instances_dir: Path
    usd_per_hour: float
    workers_max: int
    capabilities: tuple[Capability, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = (sys.executable, "-m", "worker_image")
    name: str = "local"
    stops_with_us: bool = True
    tagged: bool = True
    hosted: bool = False
    list_lag_s: float = 0.0
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)

    async def offers(self) -> tuple[Offer, ...]:
        if not self.capabilities:
            return ()
        listed = await asyncio.to_thread(self._processes)
        return (
            Offer(
                provider=self.name,
                gpu_class=GPU_CLASS,
                usd_per_hour=self.usd_per_hour,
                capabilities=self.capabilities,
                count_max=max(0, self.workers_max - len(listed)),
                boot_prior=BOOT,
            ),
        )

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        return await asyncio.to_thread(self._create, spec, tag)

    async def list(self) -> tuple[Instance, ...]:
        tags = await asyncio.to_thread(self._processes)
        return tuple(_instance(tag) for tag in sorted(tags))

    async def get(self, instance_id: str) -> Instance:
        if instance_id not in await asyncio.to_thread(self._processes):
            raise NotFound(f"no process of {instance_id} is left")
        return _instance(instance_id)

    async def delete(self, instance_id: str) -> None:
        """Asks the processes to end, then kills them. Returns while they end; raises NotFound once they have."""
        await asyncio.to_thread(self._delete, instance_id)

    async def check(self) -> Account:
        running = len(await asyncio.to_thread(self._processes))
        engines = ", ".join(sorted({one.engine for one in self.capabilities})) or "nothing"
        return Account((f"This machine can run {engines}.",), None, self.workers_max, running)

    async def aclose(self) -> None:
        return None

    def _create(self, spec: LaunchSpec, tag: str) -> Instance:
        running = self._processes()
        if tag in running:
            return _instance(tag)
        if len(running) >= self.workers_max:
            raise NoCapacity(f"{self.workers_max} workers run on this machine, and more are not allowed")
        folder = self.instances_dir / tag
        try:
            (folder / "scratch").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._children[tag] = self._start(spec, folder)
        except OSError as error:
            raise Rejected(f"the worker program did not start: {error}") from error
        return _instance(tag)

    def _start(self, spec: LaunchSpec, folder: Path) -> subprocess.Popen[bytes]:
        given = {
            **inherited(),
            **self.environment,
            **spec.environment,
            "GPULEASE_ORCHESTRATOR_URL": spec.orchestrator_url,
            "GPULEASE_WORKER_ID": spec.worker_id,
            "GPULEASE_WORKER_KEY": spec.worker_key,
            "GPULEASE_SCRATCH": str(folder / "scratch"),
            MARK: str(folder),
        }
        with (folder / "worker.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  An argument vector of ours.
                [*self.command, "--instance", str(folder)],
                env=given,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _processes(self) -> Found:
        """Everything that carries our mark, by instance; what has ended is reaped on the way."""
        self._reap()
        found: Found = defaultdict(list)
        for tag, child in list(self._children.items()):
            if child.returncode is None:  # Its environment cannot be read in its first moments.
                with contextlib.suppress(psutil.Error):
                    found[tag].append(psutil.Process(child.pid))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                folder = process.environ().get(MARK)
                if folder and Path(folder).parent == self.instances_dir and _alive(process):
                    known = found[Path(folder).name]
                    if process not in known:
                        known.append(process)
        return dict(found)

    def _delete(self, tag: str) -> None:
        processes = self._processes().get(tag, [])
        if not processes:
            self._forget(tag)
            raise NotFound(f"no process of {tag} is left")
        leaders = [one for one in processes if _leads(one)]
        asked_at = self._asked_at.get(tag)
        if leaders and asked_at is None:
            self._asked_at[tag] = time.monotonic()
            _signal(leaders, signal.SIGTERM)  # Once only: a worker takes a second one as "at once".
        elif not leaders or time.monotonic() - (asked_at or 0.0) > TERM_GRACE_S:
            _signal(processes, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=1.0)
        self._reap()

    def _reap(self) -> None:
        for child in list(self._children.values()):  # Another thread may be starting one.
            child.poll()

    def _forget(self, tag: str) -> None:
        """Keeps the log of an ended worker, and nothing else of it. An id that is no folder's name is nobody's."""
        if tag in {"", ".."} or Path(tag).name != tag:
            return
        self._children.pop(tag, None)
        self._asked_at.pop(tag, None)
        folder = self.instances_dir / tag
        logs = self.instances_dir.parent / "worker-logs"
        with contextlib.suppress(FileNotFoundError):
            logs.mkdir(exist_ok=True, mode=0o700)
            (folder / "worker.log").replace(logs / f"{tag}.log")
        for old in sorted(logs.glob("*.log"), key=_modified, reverse=True)[LOGS_KEPT:]:
            old.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def inherited() -> dict[str, str]:
    """What a process of ours may see of our environment."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _instance(tag: str) -> Instance:
    return Instance(id=tag, tag=tag, gpu_class=GPU_CLASS)


def _alive(process: psutil.Process) -> bool:
    return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def _leads(process: psutil.Process) -> bool:
    """The worker itself leads its session; what it started does not, or is led by another."""
    with contextlib.suppress(OSError, psutil.Error):
        return os.getsid(process.pid) == process.pid and "--instance" in process.cmdline()
    return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

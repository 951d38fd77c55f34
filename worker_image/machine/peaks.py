"""What one job takes at most: memory of its process and of the programs it starts, and memory of the GPU."""

import contextlib
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from worker_image.machine.gpu import Gpu

SAMPLE_S = 0.25
_SELF = Path("/proc/self")
_RESET_PEAK = "5"
_MIB = 1024**2
_PER_KB = 1024 if sys.platform == "darwin" else 1


class Baseline:
    """The GPU, and how much of it was taken before this process took any: where the driver knows no processes,
    what came on top counts as ours.
    """

    def __init__(self, gpu: Gpu | None) -> None:
        now = gpu.now() if gpu else None
        self.gpu = gpu
        self.used_mib = now.used_mib if now else 0.0


class Peaks:
    """Watches from its entry to its exit, on a thread. `gpu_util` is the newest reading, a share of 1.

    The process's own peak is the kernel's, reset at entry; that of programs is the kernel's too where one of them was
    larger than all before it, and else what was seen every `SAMPLE_S`, all of them together.
    """

    def __init__(self, base: Baseline) -> None:
        self._base = base
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peaks", daemon=True)
        self._programs_kb = 0
        self._seen_kb = 0.0
        self._vram_mib = 0.0
        self.gpu_util: float | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            (_SELF / "clear_refs").write_text(_RESET_PEAK)
        self._programs_kb = _peak_kb(resource.RUSAGE_CHILDREN)
        torch = _torch()
        if torch is not None:
            torch.cuda.reset_peak_memory_stats()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def metrics(self) -> dict[str, float | int | str]:
        """Without a GPU, its memory's peak is 0."""
        programs_kb = _peak_kb(resource.RUSAGE_CHILDREN)
        ended_kb = programs_kb if programs_kb > self._programs_kb else 0
        ram_kb = max(_own_peak_kb(), int(self._seen_kb), ended_kb)
        return {"PEAK_VRAM_MIB": round(self._vram_mib, 1), "PEAK_RAM_KB": ram_kb}

    def _watch(self) -> None:
        self._look()
        while not self._over.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        family = _family()
        self._seen_kb = max(self._seen_kb, sum(family.values()) / 1024)
        if self._base.gpu is not None:
            self._vram_mib = max(self._vram_mib, self._taken_mib(self._base.gpu, set(family)))

    def _taken_mib(self, gpu: Gpu, pids: set[int]) -> float:
        now = gpu.now()
        self.gpu_util = now.util if now else None
        known = gpu.used_by(pids)
        if known is None and now is not None:
            known = max(0.0, now.used_mib - self._base.used_mib)
        torch = _torch()
        own = torch.cuda.max_memory_reserved() / _MIB if torch is not None else 0.0
        return max(known or 0.0, own)


def _family() -> dict[int, int]:
    """Bytes in memory by process: this one, and all that it started."""
    me = psutil.Process()
    found = {}
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = process.memory_info().rss
    return found


def _own_peak_kb() -> int:
    """Since the last reset, where the kernel can; else since the process began."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (_SELF / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return _peak_kb(resource.RUSAGE_SELF)


def _peak_kb(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss // _PER_KB


def _torch() -> Any:
    """PyTorch, if the engine uses it on the GPU in this process."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None

"""Whether this machine can do what it is to offer: looked at before it reports for duty, and after GPU faults."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from gpulease.contract.agent import EngineOffer
from worker_image.faults import HostFault
from worker_image.machine.gpu import Gpu
from worker_image.media.programs import Unbounded, ffmpeg, ffprobe, run_bounded

FREE_GB_MIN = 1.0
PROBE_BYTES = 2 * 1024**2
CUDA_S_MAX = 30.0
PROGRAM_S_MAX = 10.0
NEED_FFMPEG = frozenset({"musetalk", "portrait"})
"""Only where one of these is offered is ffmpeg tried: a machine that renders needs none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. A `needed` one that is not `ok` makes the machine unfit; the detail then says what to do."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be fit for what. `gpu` is the device, or why there is none."""

    gpu: Gpu | str
    device: str
    scratch: Path
    engines: frozenset[str]


def examine(subject: Subject) -> tuple[Finding, ...]:
    """All findings. Blocks, for milliseconds without a GPU, and for about a second with one."""
    found = [check_device(subject.gpu, subject.device), check_disk(subject.scratch)]
    if subject.engines & NEED_FFMPEG:
        found += check_programs()
    return tuple(found)


def unfit(findings: tuple[Finding, ...]) -> str | None:
    """Why the machine may not serve, in one sentence, or None."""
    reasons = [f"{one.name}: {one.detail}" for one in findings if one.needed and not one.ok]
    return "; ".join(reasons) or None


def too_large(offer: EngineOffer, vram_gb: float) -> bool:
    """Whether its model does not fit into the GPU. Without one, models lie in the machine's memory."""
    return 0 < vram_gb < offer.vram_gb


def check_device(gpu: Gpu | str, device: str) -> Finding:
    if device == "cpu":
        return Finding("gpu", ok=True, detail="not used: GPULEASE_DEVICE is cpu")
    if isinstance(gpu, str):
        wanted = device == "cuda"
        advice = "; GPULEASE_DEVICE is cuda" if wanted else "; models run on the CPU"
        return Finding("gpu", ok=not wanted, detail=f"{gpu}{advice}")
    about = f"{gpu.gpu_class}, {gpu.vram_gb:.0f} GB, driver {gpu.driver}, CUDA {gpu.cuda}"
    if gpu.now() is None:
        return Finding("gpu", ok=False, detail=f"{about}: its driver does not answer any more")
    reason = _cuda_fails()
    if reason:
        about = f"{about}: {reason}; GPULEASE_DEVICE=cpu serves without it"
    return Finding("gpu", ok=reason is None, detail=about)


def _cuda_fails() -> str | None:
    """In a process of its own, since CUDA keeps memory for every process that ever used it."""
    argv = [sys.executable, "-P", "-m", "worker_image.machine.cuda_try"]
    try:
        ran = run_bounded(argv, timeout_s=CUDA_S_MAX)
    except (OSError, Unbounded) as error:
        return f"CUDA cannot be tried: {error}"
    if ran.code == 0:
        return None
    return ran.out.decode("utf-8", "replace").strip() or f"CUDA ended its process with {ran.code}"


def check_disk(scratch: Path) -> Finding:
    free_gb = shutil.disk_usage(scratch).free / 1e9
    if free_gb < FREE_GB_MIN:
        advice = f"at least {FREE_GB_MIN:.0f} GB is needed; GPULEASE_SCRATCH names another place"
        return Finding("disk", ok=False, detail=f"{free_gb:.2f} GB free at {scratch}; {advice}")
    try:
        seconds = _write_and_read(scratch / f"fitness-{uuid4().hex}")
    except OSError as error:
        return Finding("disk", ok=False, detail=f"{scratch} cannot be used: {error}")
    speed = 2 * PROBE_BYTES / 1e6 / max(seconds, 1e-6)
    return Finding("disk", ok=True, detail=f"{free_gb:.1f} GB free at {scratch}, {speed:.0f} MB/s")


def _write_and_read(path: Path) -> float:
    """Seconds of a write that reached the disk, and of reading it back."""
    block = os.urandom(PROBE_BYTES)
    started = time.perf_counter()
    try:
        with path.open("wb") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != block:
            raise OSError("it gives back other bytes than were written")
    finally:
        path.unlink(missing_ok=True)
    return time.perf_counter() - started


def check_programs() -> Iterator[Finding]:
    """Both programs must really start: a build for another system is found as well."""
    for name, find in (("ffmpeg", ffmpeg), ("ffprobe", ffprobe)):
        try:
            path = find()
            ran = run_bounded([path, "-version"], timeout_s=PROGRAM_S_MAX)
        except (HostFault, OSError, Unbounded) as error:
            yield Finding(name, ok=False, detail=str(error))
            continue
        version = ran.out.decode("utf-8", "replace").partition("\n")[0][:80]
        fine = ran.code == 0 and "version" in version
        yield Finding(name, ok=fine, detail=version if fine else f"{path} ends with {ran.code}")

"""The GPU of this machine, as NVML tells. A machine without NVIDIA's driver has none, which is no fault."""

import contextlib
import ctypes
import os
import re
from dataclasses import asdict, dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_MIB = 1024**2
_MAKERS = re.compile(r"\b(NVIDIA|GeForce|Tesla|GPU)\b")


@dataclass(frozen=True, slots=True)
class GpuNow:
    """One reading. `util` is a share of 1; what the driver does not tell is None."""

    used_mib: float
    free_mib: float
    temperature_c: float | None = None
    util: float | None = None


class Gpu:
    """One device. `vram_gb` counts 1024**3 bytes, as GPUs are sold. Readings cost well under a millisecond."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.gpu_class = class_of(_text(nvml.nvmlDeviceGetName(handle)))
        self.vram_gb = round(nvml.nvmlDeviceGetMemoryInfo(handle).total / 1024**3, 1)
        self.driver = _text(nvml.nvmlSystemGetDriverVersion())
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        self.cuda = f"{cuda // 1000}.{cuda % 1000 // 10}"

    def as_json(self) -> dict[str, Any]:
        about = {
            "gpu_class": self.gpu_class,
            "vram_gb": self.vram_gb,
            "driver": self.driver,
            "cuda": self.cuda,
        }
        now = self.now()
        return about | ({"now": asdict(now)} if now else {})

    def now(self) -> GpuNow | None:
        """None when the driver does not answer any more."""
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        if memory is None:
            return None
        degrees = self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates)
        return GpuNow(
            used_mib=memory.used / _MIB,
            free_mib=memory.free / _MIB,
            temperature_c=None if degrees is None else float(degrees),
            util=None if rates is None else rates.gpu / 100,
        )

    def used_by(self, pids: set[int]) -> float | None:
        """MiB that these processes hold. None where the driver does not know them: it counts processes by the
        host's numbers, which a container's are not, and on WSL it tells no sizes at all.
        """
        found = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        sizes = [one.usedGpuMemory for one in found if one.pid in pids and one.usedGpuMemory is not None]
        return sum(sizes) / _MIB if sizes else None

    def _ask(self, call: Any, *more: Any) -> Any:
        with contextlib.suppress(self._nvml.NVMLError):
            return call(self._handle, *more)
        return None


def find_gpu(visible: str | None) -> Gpu | str:
    """The first device that CUDA may use, or why there is none. `visible` is what CUDA_VISIBLE_DEVICES says."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return "no NVIDIA driver"
    import pynvml  # noqa: PLC0415  Most machines without a driver never need it.

    try:
        pynvml.nvmlInit()
        handle = _chosen(pynvml, visible)
        return "CUDA_VISIBLE_DEVICES hides every GPU" if handle is None else Gpu(pynvml, handle)
    except pynvml.NVMLError as error:
        return f"the NVIDIA driver does not answer: {error}"


def _chosen(nvml: Any, visible: str | None) -> Any:
    """CUDA takes an index, or the start of a UUID; anything else, and -1, hides this device and those after it."""
    first = "0" if visible is None else visible.split(",")[0].strip()
    count = nvml.nvmlDeviceGetCount()
    if first.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(first)) if int(first) < count else None
    if not first.startswith(("GPU-", "MIG-")):
        return None
    for index in range(count):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(first):
            return handle
    return nvml.nvmlDeviceGetHandleByUUID(os.fsencode(first))


def class_of(name: str) -> str:
    """Such as `RTX 4090` for "NVIDIA GeForce RTX 4090", as clouds name what they rent out."""
    return " ".join(_MAKERS.sub(" ", name).split()) or name


def _text(said: str | bytes) -> str:
    return said.decode() if isinstance(said, bytes) else said

"""What can end an attempt, grouped by whose fault it is.

Faulted
├── InputFault   the job's own: never retried
└── HostFault    this machine's: the job goes elsewhere
Cancelled        nobody's: whoever asked for the work takes it back
"""

import errno
import re
from typing import Literal

from gpulease.contract.jobs import Fault

OUT_OF_MEMORY = "out_of_memory"
CUDA_ERROR = "cuda_error"
GPU_CODES = frozenset({OUT_OF_MEMORY, CUDA_ERROR})
"""After one of these the engine's process is ended: its model goes, and what the fault left on the GPU with it."""

_NO_MEMORY = re.compile(
    r"(CUDA|HIP|GPU|cuda\w*).{0,60}out of memory|out of memory.{0,60}(CUDA|GPU)|OutOfMemoryError"
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
    r"|can't allocate memory|Unable to allocate .{1,40}iB"
)
_CUDA_BROKE = re.compile(
    r"CUDA (driver |runtime )?error|CUDA failed with error|CUDA_ERROR_|cudaError|device-side assert"
    r"|cu(DNN|BLAS|FFT|SOLVER|SPARSE) (error|failed)|(CUBLAS|CUDNN|CUFFT|CUSOLVER|CUSPARSE)_STATUS_",
    re.IGNORECASE,
)
_NO_MEMORY_NAMES = frozenset({"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"})
_CUDA_NAMES = frozenset({"AcceleratorError", "CudaError", "CUDARuntimeError"})


class Faulted(Exception):
    """An attempt that failed. `code` is for programs, the message is for people and says what to do."""

    kind: Literal["job", "host"] = "host"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def wire(self) -> Fault:
        return Fault(kind=self.kind, code=self.code, message=self.message[:2000])


class InputFault(Faulted):
    kind = "job"


class HostFault(Faulted):
    kind = "host"


class Cancelled(Exception):
    """The work was taken back."""


def from_exception(error: Exception) -> Faulted:
    """What an error that no backend foresaw means: the machine's fault, since the input was checked."""
    if isinstance(error, Faulted):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostFault("disk_full", f"The worker's disk is full: {error}")
    said = f"{type(error).__name__}: {error}"
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NO_MEMORY_NAMES:
        return HostFault(OUT_OF_MEMORY, f"The worker has not enough memory for this job. {said}")
    if names & _CUDA_NAMES:
        return gpu_fault(said) or HostFault(CUDA_ERROR, said)
    return gpu_fault(said) or HostFault("engine_failed", said)


def gpu_fault(said: str) -> HostFault | None:
    """The fault that a library's, or a program's, last words mean, if they tell of the GPU or of memory.

    Frameworks name their errors each in their own way, so it is the text that tells.
    """
    if _NO_MEMORY.search(said):
        return HostFault(OUT_OF_MEMORY, f"The worker has not enough memory for this job. {said}")
    if _CUDA_BROKE.search(said):
        return HostFault(CUDA_ERROR, said)
    return None


def wire_to_fault(kind: str, code: str, message: str) -> Faulted:
    return InputFault(code, message) if kind == "job" else HostFault(code, message)

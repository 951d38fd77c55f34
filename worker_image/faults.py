"""What can end an attempt, grouped by whose fault it is.

Faulted
├── InputFault   the job's own: never retried
└── HostFault    this machine's: the job goes elsewhere
Cancelled        nobody's: whoever asked for the work takes it back
"""

import errno
from typing import Literal

from gpulease.contract.jobs import Fault


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
    if isinstance(error, MemoryError):
        return HostFault("out_of_memory", "The worker has not enough memory for this job.")
    return HostFault("engine_failed", f"{type(error).__name__}: {error}")


def wire_to_fault(kind: str, code: str, message: str) -> Faulted:
    return InputFault(code, message) if kind == "job" else HostFault(code, message)

"""The search for processes that a data directory's server may have left running."""

import time
from pathlib import Path

import psutil

GONE_S_MAX = 5.0
_LOOKED_AT = ["cmdline", "environ", "cwd", "open_files"]


def leftovers(data: Path, within_s: float = GONE_S_MAX) -> list[str]:
    """Processes that still have the data directory in command line, environment, folder or open files
    after so many seconds.

    Ourselves and those that started us are left out: the caller may have named the directory.
    """
    until = time.monotonic() + within_s
    while (found := _holders(data)) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def _holders(data: Path) -> list[str]:
    own = psutil.Process()
    family = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in family and _holds(process.as_dict(_LOOKED_AT), str(data)):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found


def _holds(process: dict[str, object], path: str) -> bool:
    """`as_dict` gives None for what we may not see: another user's process, which is none of ours."""
    return any(path in repr(value) for value in process.values() if value)

"""Ends whatever carries the mark of an instance's folder, whichever group or session it has gone to."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

MARK = "GPULEASE_INSTANCE"
_PATIENCE_S = 10.0
_PERIOD_S = 0.01


def marked(folder: Path) -> list[psutil.Process]:
    """Living processes whose instance's folder is this one, or lies in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get(MARK)
            if not mark or process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
                continue
            if Path(mark).is_relative_to(folder) and process.pid != os.getpid():
                found.append(process)
    return found


def kill_marked(folder: Path) -> None:
    """Looks again until there is none, since a process may start another one before it dies."""
    end = time.monotonic() + _PATIENCE_S
    while (doomed := marked(folder)) and time.monotonic() < end:
        for process in doomed:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(_PERIOD_S)


def kill_tree(leader: int) -> None:
    """Ends a process group and all that descends from its leader, whatever these made of their environment."""
    doomed: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        doomed = psutil.Process(leader).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.kill()

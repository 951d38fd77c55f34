"""Keeps one render: `python -m worker_image.web.hpc.keeper SECONDS PROGRAM …` runs it, and ends it with all its kin.

It ends the render when its standard input closes, which is also what happens when the worker dies. Its exit code is 0
if the program's was; then, or when it fails, the program's last lines are on its standard output.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from worker_image.engines.program import run_program

_PR_SET_CHILD_SUBREAPER = 36
_STDIN = 0


def main() -> int:
    seconds, *argv = sys.argv[1:]
    if sys.platform == "linux":  # What detaches itself from the program stays findable.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _on_stop)
    threading.Thread(target=_stop_when_let_go, name="let-go", daemon=True).start()
    said = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stderr = nowhere
        try:
            ended = run_program(argv, Path.cwd(), _until(time.monotonic() + float(seconds)))
        except (OSError, TimeoutError) as error:
            said.write(str(error))
            return 1
    said.write(ended.last)
    return 0 if ended.code == 0 else 1


def _on_stop(_: int, __: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1)


def _stop_when_let_go() -> None:
    """Reads past `sys.stdin`, whose lock a thread would keep from an interpreter that ends."""
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _until(end: float) -> Callable[[str | None], None]:
    def on_line(_: str | None) -> None:
        if time.monotonic() > end:
            raise TimeoutError("the render took too long")

    return on_line


if __name__ == "__main__":
    sys.exit(main())

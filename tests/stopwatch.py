"""Seconds as an idle machine would take them: where more programs want to run than there are cores, a second counts as
the share of it that each of them gets. Elsewhere than on Linux all seconds count.
"""

import os
import threading
import time
from pathlib import Path
from typing import Self

LOOK_S = 0.02


class Stopwatch:
    """with Stopwatch() as took: ...

    assert took.seconds < 2.0
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="stopwatch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        before, is_over = time.monotonic(), False
        while not is_over:
            is_over = self._over.wait(LOOK_S)
            now = time.monotonic()
            self.seconds += (now - before) * min(1.0, (os.cpu_count() or 1) / max(1, _running()))
            before = now


def _running() -> int:
    """How many threads of all programs run or want to."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("procs_running ")), 0)

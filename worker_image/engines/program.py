"""Runs a command-line program inside an engine's process: its output is the log, line by line, and never a shell."""

import contextlib
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

LAST_LINES = 15
LINE_LETTERS_MAX = 16_000
STOP_GRACE_S = 0.5
QUIET_S = 0.5
_LINES_WAITING_MAX = 1_000
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: the signal), and the last of what it printed."""

    code: int
    last: str


def run_program(
    argv: list[str],
    cwd: Path,
    on_line: Callable[[str | None], None],
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Runs it to its end. `on_line` gets every line, and None twice a second of silence; what it raises ends it.

    What the program left running when it ended is ended too.

    Raises:
        OSError: it could not be started.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(  # noqa: S603  The vector is the operator's; values in it are typed.
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        reader = _Reader(process)
        try:
            for line in reader.lines():
                if line is not None:
                    sys.stderr.write(line + "\n")
                    last.append(line)
                on_line(line)
            process.wait()
        finally:
            _stop(process)
            reader.stop()
    return Ended(process.returncode, "\n".join(last))


class _Reader:
    """Output as lines, cut at a bound. Carriage returns end lines too, as progress bars do."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue(_LINES_WAITING_MAX)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="program", daemon=True)
        self._thread.start()

    def lines(self) -> Iterator[str | None]:
        """None for each time of silence. The end is the output's, or, where kin hold that open, the program's."""
        while True:
            try:
                line = self._lines.get(timeout=QUIET_S)
            except queue.Empty:
                if self._process.poll() is not None:
                    return
                yield None
                continue
            if line is None:
                return
            yield line

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(STOP_GRACE_S)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  We asked for a pipe.
        rest = b""
        while chunk := self._process.stdout.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                self._put(line[:LINE_LETTERS_MAX].decode("utf-8", "replace"))
            rest = rest[:LINE_LETTERS_MAX]
        if rest:
            self._put(rest.decode("utf-8", "replace"))
        self._put(None)

    def _put(self, line: str | None) -> None:
        """Waits while too many lines wait, until nobody wants them any more."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=QUIET_S)
                return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, gently first, and then whatever it started: this process runs nothing else."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_GRACE_S)
    for kin in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            kin.kill()
    for orphan in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            orphan.wait(STOP_GRACE_S)

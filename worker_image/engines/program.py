"""Runs a command-line program inside an engine's process: its output is the log, line by line, and never a shell."""

import contextlib
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

LAST_LINES = 15
LINE_LETTERS_MAX = 2_000
STOP_GRACE_S = 0.5
QUIET_S = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: the signal), and the last of what it printed."""

    code: int
    last: str


def run_program(argv: list[str], cwd: Path, on_line: Callable[[str | None], None]) -> Ended:
    """Runs it to its end. `on_line` gets every line, and None twice a second of silence; what it raises ends it.

    Raises:
        OSError: it could not be started.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(  # noqa: S603  The vector is the operator's; values in it are typed.
        argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            lines = _lines(process)
            while True:
                try:
                    line = lines.get(timeout=QUIET_S)
                except queue.Empty:
                    on_line(None)
                    continue
                if line is None:
                    break
                sys.stderr.write(line + "\n")
                last.append(line)
                on_line(line)
            process.wait()
        finally:
            _stop(process)
    return Ended(process.returncode, "\n".join(last))


def _lines(process: subprocess.Popen[bytes]) -> queue.Queue[str | None]:
    """Output as lines, cut at a bound, with a None at the end. Carriage returns end lines too, as progress bars do."""
    lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)

    def read() -> None:
        assert process.stdout is not None  # noqa: S101  We asked for a pipe.
        rest = b""
        while chunk := process.stdout.read1(64 * 1024):  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                lines.put(line[:LINE_LETTERS_MAX].decode("utf-8", "replace"))
            rest = rest[:LINE_LETTERS_MAX]
        if rest:
            lines.put(rest.decode("utf-8", "replace"))
        lines.put(None)

    threading.Thread(target=read, name="program", daemon=True).start()
    return lines


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

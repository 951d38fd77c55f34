"""What an engine's process printed for one job: clean UTF-8 by byte offset, from the file it writes to."""

import codecs
import os
from pathlib import Path

LOG_BYTES_MAX = 1024 * 1024
_TAIL_BYTES = 8 * 1024
_CUT = "\n… the log is longer; the rest was not kept\n"


class JobLog:
    """Reads what was appended since the job began, at most `LOG_BYTES_MAX` in all.

    A file that grows far beyond that is cut, since a program that prints forever must not fill the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.stat().st_size > LOG_BYTES_MAX:
            os.truncate(path, 0)
        self._start = self._at = path.stat().st_size
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cut = False
        self._end: int | None = None

    def read(self, bytes_max: int) -> str:
        """The next piece, or nothing. Its length in UTF-8 may exceed `bytes_max` where bytes were not UTF-8."""
        if self._cut:
            self._keep_small()
            return ""
        left = LOG_BYTES_MAX - (self._at - self._start)
        if self._end is not None:
            bytes_max = max(0, min(bytes_max, self._end - self._at))
        if left <= 0:
            self._cut = True
            return _CUT
        with self._path.open("rb") as file:
            file.seek(self._at)
            chunk = file.read(min(bytes_max, left))
        self._at += len(chunk)
        return self._decoder.decode(chunk)

    def close(self) -> None:
        """The job is over: what is printed from now on is another's."""
        self._end = self._path.stat().st_size

    def last_lines(self, count: int = 12) -> str:
        with self._path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._start, end - _TAIL_BYTES) if end > self._start else end)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-count:])

    def _keep_small(self) -> None:
        if self._path.stat().st_size > self._at + 4 * LOG_BYTES_MAX:
            os.truncate(self._path, self._at)

"""How far MuseTalk's script has come, from what it prints: stages on stdout, bars on stderr, in one stream."""

import re
import time
from collections import deque
from dataclasses import dataclass, field

from gpulease.contract.jobs import Phase
from worker_image.engines.base import Report

_BAR = re.compile(r"(\d+)%\|.*\|\s*(\d+)/(\d+)\s*\[")
_SAVED = re.compile(r"Results saved to (.+?)\s*$")
_ERROR = re.compile(r"Error occurred(?: during processing)?:")
_PEAK_RAM = re.compile(r"Maximum resident set size \(kbytes\): (\d+)")
_SIGNAL = re.compile(r"Command terminated by signal (\d+)")
_STAGES = (
    # What it prints when the stage begins, what we call it, and the share of the work that is done by then.
    ("load unet model", "loading the models", 0.02),
    ("Loaded inference config", "reading the sound", 0.08),
    ("Extracting landmarks", "finding the face", 0.12),
    ("reading images", "reading the frames", 0.12),
    ("get key_landmark", "finding the face", 0.16),
    ("Number of frames:", "encoding the face", 0.50),
    ("Starting inference", "moving the lips", 0.55),
    ("Padding generated images", "putting the lips in place", 0.75),
)
_FILM = (("Video generation command:", 0.0), ("Audio combination command:", 0.3))
_WORDS_KEPT = 40


@dataclass(slots=True)
class Watch:
    """Takes every line (None: silence) and reports; keeps what the end is judged by.

    `frames` is how many pictures it had: with none it ends with the same words as with no face.
    """

    report: Report
    saved: str | None = None
    error: bool = False
    frames: int = 0
    peak_ram_kb: int | None = None
    signal: int | None = None
    inferring_since: float | None = None
    words: deque[str] = field(default_factory=lambda: deque(maxlen=_WORDS_KEPT))
    _stage: int = -1
    _share: float = 0.0
    _message: str = "starting MuseTalk"
    _step: int | None = None
    _steps: int | None = None
    _film: float | None = None

    def on_line(self, line: str | None) -> None:
        if line is not None:
            bar = _BAR.search(line)
            if bar:
                self._on_bar(int(bar.group(2)), int(bar.group(3)))
            if not bar or not line.endswith("]"):
                self._on_words(line)
        self._tell()

    def _on_bar(self, done: int, total: int) -> None:
        if self._film is not None or total == 0:
            return
        if _STAGES[self._stage][0] == "reading images":
            self.frames = total
        start, end = self._bounds()
        self._share = max(self._share, start + (end - start) * min(done / total, 1.0))
        self._step, self._steps = done, total

    def _on_words(self, line: str) -> None:
        if line.strip():
            self.words.append(line)
        self.error = self.error or _ERROR.search(line) is not None
        if found := _SAVED.search(line):
            self.saved = found.group(1)
        if found := _PEAK_RAM.search(line):
            self.peak_ram_kb = int(found.group(1))
        if found := _SIGNAL.search(line):
            self.signal = int(found.group(1))
        for number, (mark, _, _) in enumerate(_STAGES):
            if mark in line and number > self._stage:
                self._enter(number)
        self._film = next((share for mark, share in _FILM if mark in line), self._film)

    def _enter(self, number: int) -> None:
        mark, self._message, start = _STAGES[number]
        self._stage, self._share = number, max(self._share, start)
        self._step = self._steps = None
        if mark == "Starting inference":
            self.inferring_since = time.monotonic()

    def _bounds(self) -> tuple[float, float]:
        starts = [start for _, _, start in _STAGES] + [1.0]
        return (starts[self._stage], starts[self._stage + 1]) if self._stage >= 0 else (0.0, 0.0)

    def _tell(self) -> None:
        if self._film is not None:
            self.report(self._film, "making the film", phase=Phase.ENCODING)
        else:
            self.report(self._share, self._message, step=self._step, total_steps=self._steps)

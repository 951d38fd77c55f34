"""What a render tells while it runs: the script's own lines, Blender's, and `openjd_progress:`."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from worker_image.engines.base import Report

_SAMPLES = re.compile(r"^Fra:\d+ .*\b(?:Sample|Rendering) (\d+)\s*/\s*(\d+)")
_OPENJD = re.compile(r"^openjd_progress:\s*(\d+(?:\.\d+)?)\s*$")


@dataclass(slots=True)
class Watch:
    """A picture counts when it is written; within a picture its samples count."""

    report: Report
    mark: str
    frames: int
    facts: dict[str, Any] = field(default_factory=dict)
    share: float = 0.0
    openjd: float = 0.0
    message: str | None = None

    @property
    def total(self) -> int:
        a_frame: int = self.facts.get("pictures_a_frame", 1)
        return self.frames * max(a_frame, 1)

    def on_line(self, line: str | None) -> None:
        if line is None:
            self._tell(self.message)
        elif self.note(line):
            self.share = 0.0
            self._tell(f"frame {self.facts['frame']}" if "frame" in self.facts else "opening the file")
        elif match := _SAMPLES.search(line):
            self.share = int(match[1]) / max(int(match[2]), 1)
            picture = self.facts.get("done", 0) + 1
            self._tell(f"picture {picture} of {self.total}, sample {match[1]} of {match[2]}")
        elif match := _OPENJD.search(line):
            self.openjd = min(float(match[1]) / 100, 1.0)
            self._tell(self.message)

    def note(self, line: str) -> bool:
        """Takes the line for a fact, if the script said it."""
        if not line.startswith(self.mark):
            return False
        try:
            self.facts |= json.loads(line.removeprefix(self.mark))
        except ValueError:
            return False
        return True

    def _tell(self, message: str | None) -> None:
        done = self.facts.get("done", 0)
        share = max((done + min(self.share, 0.99)) / self.total, self.openjd)
        self.message = message
        self.report(min(share, 1.0), message, step=done, total_steps=self.total)

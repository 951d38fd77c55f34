"""What one render is to make: its frames, the names of its pictures, and what the script is told."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from gpulease.contract.engines import BlenderInput
from worker_image.faults import InputFault

FRAMES_MAX = 10_000
OPTIONS = ("-b", "--factory-startup", "-noaudio", "--disable-autoexec")
SCRIPTS = Path(__file__).with_name("inside")
SCRIPT = SCRIPTS / "render.py"
SAFETY = SCRIPTS / "safety.py"
PARAMETERS = "parameters.json"
_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "EXR": "exr", "MP4": "png"}
_NOT_THE_SCRIPTS = {"file_url", "library_url", "frames", "fps", "pack"}


@dataclass(frozen=True, slots=True)
class Plan:
    """`project` is the file to open, relative to the folder of the parameters.

    Nobody can know the `mark` who makes a file for Blender, so what begins with it is the script's word.
    """

    asked: BlenderInput
    frames: tuple[int, ...]
    project: str
    device: str = "auto"
    told: bool = False
    mark: str = field(default_factory=lambda: f"gpulease-{uuid4().hex}: ")

    def write(self, folder: Path) -> Path:
        """Writes the parameters into the folder, beside the project, and makes `out` there."""
        (folder / "out").mkdir(exist_ok=True)
        path = folder / PARAMETERS
        wanted = self.asked.model_dump(exclude=_NOT_THE_SCRIPTS)
        own = {
            "project": self.project,
            "frames": self.frames,
            "picture": self._picture,
            "device": self.device,
            "mark": self.mark,
            "told": self.told,
        }
        path.write_text(json.dumps({**wanted, **own}), encoding="utf-8")
        return path

    def pictures(self, frame: int, cameras: int) -> list[str]:
        return [self._picture.format(frame=frame, camera=number) for number in range(cameras)]

    def of_camera(self, number: int) -> list[str]:
        return [self._picture.format(frame=frame, camera=number) for frame in self.frames]

    @property
    def _picture(self) -> str:
        camera = "_cam{camera}" if self.asked.cameras == "all" else ""
        return f"frame_{{frame:06}}{camera}.{_EXTENSIONS[self.asked.output]}"


def frame_numbers(frames: str) -> list[int]:
    """Turns "1-3,7" into 1, 2, 3, 7: each once, in order.

    Raises:
        InputFault: a range goes backwards, or there are more than `FRAMES_MAX`.
    """
    numbers: set[int] = set()
    for part in frames.split(","):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first)
        if end < start:
            raise InputFault("frames_invalid", f"frames: {part} goes backwards")
        if len(numbers) + end - start + 1 > FRAMES_MAX:
            raise InputFault("frames_invalid", f"frames: more than {FRAMES_MAX}; split the job")
        numbers.update(range(start, end + 1))
    return sorted(numbers)

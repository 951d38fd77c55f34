"""`blender`: a `.blend` to frames, an archive of them, or a film. The script that Blender runs is ours and fixed."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import BlenderInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.engines.program import Ended, run_program
from worker_image.faults import HostFault, InputFault
from worker_image.media.archive import zip_files
from worker_image.media.film import encode_mp4

FRAMES_MAX = 10_000
SCRIPT = Path(__file__).with_name("blender_script.py")
MARK = "gpulease: "
_MAGIC = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
_SAMPLES = re.compile(r"^Fra:\d+ .*\b(?:Sample|Rendering) (\d+)\s*/\s*(\d+)")
_KINDS = {"png": "image/png", "jpg": "image/jpeg", "exr": "image/x-exr"}
_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "EXR": "exr", "MP4": "png"}
OPTIONS = ("-b", "--factory-startup", "-noaudio", "--disable-autoexec")


@dataclass(slots=True)
class _Watch:
    """What the script has told so far."""

    report: Report
    facts: dict[str, Any] = field(default_factory=dict)
    frames_done: int = 0
    frames: int = 1
    share: float = 0.0
    message: str | None = None

    def on_line(self, line: str | None) -> None:
        """A frame counts when it is written; within a frame the samples count."""
        if line is None:
            self._tell(self.message)
        elif line.startswith(MARK):
            self.facts |= json.loads(line.removeprefix(MARK))
            self.frames_done, self.share = self.facts.get("done", 0), 0.0
            self._tell(f"frame {self.facts['frame']}" if "frame" in self.facts else "opening the file")
        elif match := _SAMPLES.search(line):
            self.share = int(match.group(1)) / max(int(match.group(2)), 1)
            self._tell(f"frame {self.frames_done + 1} of {self.frames}, sample {match.group(1)}")

    def _tell(self, message: str | None) -> None:
        done = min((self.frames_done + min(self.share, 0.99)) / self.frames, 1.0)
        self.message = message
        self.report(done, message, step=self.frames_done, total_steps=self.frames)


class Blender:
    name = "blender"
    engine = "blender"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    def probe(self) -> EngineOffer | str:
        if shutil.which("blender") is None:
            return "the program `blender` is not installed"
        return EngineOffer(engine=self.engine, backend=self.name)

    def load(self, model: str | None) -> str | None:  # noqa: ARG002  There is no model.
        return None

    def unload(self) -> None:
        pass

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = BlenderInput.model_validate(job.input)
        frames = frame_numbers(asked.frames)
        project = project_of(job)
        if asked.output == "MP4" and find_spec("av") is None:
            raise InputFault("film_unsupported", "this worker cannot encode MP4; ask for PNG frames")
        watch = _Watch(report, frames=len(frames))
        ended = run_program(_argv(job, asked, frames, project), Path(job.folder), watch.on_line)
        made = [job.out / frame_name(frame, asked) for frame in frames]
        check_frames(made, ended, watch.facts)
        return Outcome(
            model=watch.facts.get("version"),
            data={"frames": len(made), "render_engine": watch.facts.get("render_engine")},
            files=(result_of(job, asked, made, report),),
            ignored=tuple(watch.facts.get("ignored", ())),
        )


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


def project_of(job: EngineJob) -> Path:
    path = Path(job.files["file_url"])
    with path.open("rb") as file:
        start = file.read(7)
    if not start.startswith(_MAGIC):
        raise InputFault("input_not_blend", "file_url is not a .blend file")
    return path.rename(path.with_suffix(".blend"))


def _argv(job: EngineJob, asked: BlenderInput, frames: list[int], project: Path) -> list[str]:
    """Parameters go as data in a file; the job's words never become code or options."""
    parameters = Path(job.folder) / "parameters.json"
    parameters.write_text(parameters_for(asked, frames, str(job.out)))
    blender = shutil.which("blender")
    if blender is None:
        raise HostFault("program_missing", "Blender is not installed any more")
    script = ("--python", str(SCRIPT), "--", str(parameters))
    return [blender, *OPTIONS, str(project), *script]


def parameters_for(asked: BlenderInput, frames: list[int], out: str) -> str:
    """What the script reads, as JSON; `out` is the folder for the frames as Blender sees it."""
    wanted = asked.model_dump(exclude={"file_url", "frames", "fps"})
    names = [(frame, f"{out}/{frame_name(frame, asked)}") for frame in frames]
    return json.dumps({**wanted, "frames": names})


def frame_name(frame: int, asked: BlenderInput) -> str:
    return f"frame_{frame:06}.{_EXTENSIONS[asked.output]}"


def check_frames(made: list[Path], ended: Ended, facts: dict[str, Any]) -> None:
    """Blender's exit code says little; the frames say all."""
    if "fault" in facts:
        raise InputFault("blend_invalid", facts["fault"])
    missing = [path.name for path in made if not path.is_file() or not path.stat().st_size]
    if not missing:
        return
    detail = f"{len(missing)} of {len(made)} frames are missing, the first is {missing[0]}"
    if ended.code < 0:
        raise HostFault(
            "blender_killed", f"Blender was killed by signal {-ended.code}; {detail}\n{ended.last}"
        )
    if "version" not in facts:
        raise InputFault("blend_invalid", f"Blender could not open the file; {detail}\n{ended.last}")
    raise HostFault("render_failed", f"{detail}\n{ended.last}")


def result_of(job: EngineJob, asked: BlenderInput, made: list[Path], report: Report) -> MadeFile:
    if asked.output == "MP4":
        film = Path(job.folder) / "film.mp4"
        encode_mp4(made, asked.fps, film, _counting(report, len(made)))
        return MadeFile(film.name, str(film), "video/mp4")
    if len(made) == 1:
        return MadeFile(made[0].name, str(made[0]), _KINDS[made[0].suffix[1:]])
    report(0.0, "packing frames", phase=Phase.ENCODING)
    archive = Path(job.folder) / "frames.zip"
    zip_files(made, job.out, archive)
    return MadeFile(archive.name, str(archive), "application/zip")


def _counting(report: Report, frames: int) -> Callable[[int], None]:
    return lambda done: report(
        done / frames, "encoding film", phase=Phase.ENCODING, step=done, total_steps=frames
    )

"""The backend: one Blender a job, its progress, its pictures."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import BlenderInput
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.engines.blender.plan import OPTIONS, SCRIPT, Plan, frame_numbers
from worker_image.engines.blender.project import lay_out
from worker_image.engines.blender.result import check_pictures, outcome_of
from worker_image.engines.blender.watch import Watch
from worker_image.engines.confined import confined
from worker_image.engines.program import run_program
from worker_image.faults import HostFault, InputFault

_PROBE_S_MAX = 5.0
_VERSION = re.compile(rb"^Blender (\d+)\.(\d+)", re.MULTILINE)
_OLDEST = (2, 93)
_CACHES = ("HOME", "XDG_CACHE_HOME", "CUDA_CACHE_PATH", "OPTIX_CACHE_PATH")


class Blender:
    name = "blender"
    engine = "blender"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    def probe(self) -> EngineOffer | str:
        return why_not(self._config.blender) or EngineOffer(engine=self.engine, backend=self.name)

    def load(self, model: str | None) -> str | None:  # noqa: ARG002  There is no model.
        return None

    def unload(self) -> None:
        pass

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = BlenderInput.model_validate(job.input)
        frames = tuple(frame_numbers(asked.frames))
        check_film(asked)
        folder = Path(job.folder)
        report(0.0, "opening the file")
        plan = Plan(asked, frames, lay_out(job.files, folder), self._config.device)
        watch = Watch(report, plan.mark, len(frames))
        ended = run_program(self._argv(plan, folder), folder, watch.on_line, _environment())
        check_pictures(plan, folder / "out", ended, watch.facts)
        return outcome_of(plan, folder, watch.facts, report)

    def _argv(self, plan: Plan, folder: Path) -> list[str]:
        """Parameters go as data in a file; the job's words never become code or options."""
        blender = shutil.which(self._config.blender)
        if blender is None:
            raise HostFault("program_missing", "Blender is not installed any more")
        argv = [blender, *OPTIONS, "--python", str(SCRIPT), "--", str(plan.write(folder))]
        return confined(argv, [str(folder), tempfile.gettempdir()])


def why_not(program: str) -> str | None:
    """Why this machine cannot render, or None."""
    path = shutil.which(program)
    if path is None:
        return f"the program `{program}` is not installed; install Blender, or name it in GPULEASE_BLENDER"
    try:
        said = subprocess.run(  # noqa: S603  The operator's program.
            [path, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_S_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run: {error}"
    version = _VERSION.search(said.stdout)
    if version is None:
        return f"{path} --version does not answer like Blender (exit code {said.returncode})"
    if (int(version[1]), int(version[2])) < _OLDEST:
        return f"{path} is older than Blender {_OLDEST[0]}.{_OLDEST[1]}"
    return None


def check_film(asked: BlenderInput) -> None:
    if asked.output == "MP4" and find_spec("av") is None:
        raise InputFault("film_unsupported", "this worker cannot encode MP4; ask for PNG frames")


def _environment() -> dict[str, str]:
    """Caches go where this process keeps its own things, which is all that Blender may write beside the job."""
    return {**os.environ, **dict.fromkeys(_CACHES, tempfile.gettempdir())}

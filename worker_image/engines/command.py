"""`command`: any command-line renderer that the operator configured, with typed arguments.

The configuration is a JSON file: program name to `Program` (see `arguments.py`). A program prints its progress as
`openjd_progress: N` or in whatever way the configured regex finds a percentage; `openjd_status:` and `openjd_fail:`
tell people what it does and why it failed.
"""

import json
import math
import re
import shutil
import tempfile
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CommandInput
from gpulease.contract.jobs import Phase
from worker_image.engines.arguments import Places, Program, expand
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.engines.confined import confined
from worker_image.engines.in_time import TooLong, at_most
from worker_image.engines.program import Ended, run_program
from worker_image.faults import HostFault, InputFault
from worker_image.media.archive import entry_names, files_in, zip_files

_PROGRAMS = TypeAdapter(dict[str, Program])
_OPENJD = re.compile(r"^openjd_(progress|status|fail):\s*(.*)")
_LOOKED_AT_LETTERS = 2_000
_PROGRESS_S_MAX = 0.5
_MESSAGE_LETTERS_MAX = 300


class Command:
    name = "command"
    engine = "command"

    def __init__(self, config: EngineConfig) -> None:
        self._path = config.commands
        self._programs: dict[str, Program] = {}

    def probe(self) -> EngineOffer | str:
        if not self._path:
            return "no programs are configured: name a JSON file in GPULEASE_COMMANDS"
        try:
            programs = _read(Path(self._path))
        except (OSError, ValueError) as error:
            return f"{self._path}: {error}"
        here = tuple(name for name, program in programs.items() if shutil.which(program.executable))
        if not here:
            missing = ", ".join(sorted({program.executable for program in programs.values()}))
            return f"{self._path}: not one of its programs is installed: {missing or 'it names none'}"
        return EngineOffer(engine=self.engine, backend=self.name, models=here)

    def load(self, model: str | None) -> str | None:  # noqa: ARG002  A program is not loaded.
        if self._path and not self._programs:
            self._programs = _read(Path(self._path))
        return None

    def unload(self) -> None:
        self._programs = {}

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = CommandInput.model_validate(job.input)
        program = self._programs.get(asked.program)
        executable = shutil.which(program.executable) if program else None
        if program is None or executable is None:
            raise HostFault("program_missing", f"this worker has no program {asked.program!r}")
        places = Places(_named(job, program), str(job.out))
        argv = [executable, *expand(program, asked.arguments, places)]
        report(0.0, asked.program)
        if program.confined:
            argv = confined(argv, [job.folder, tempfile.gettempdir()])
        watch = _Watch(program, report)
        ended = run_program(argv, Path(job.folder), watch.on_line)
        _check_end(asked.program, ended, watch.failure)
        report(0.0, "packing", phase=Phase.ENCODING)
        return self._packed(asked.program, job)

    def _packed(self, program: str, job: EngineJob) -> Outcome:
        made = files_in(job.out)
        if not made:
            raise InputFault("no_output", f"{program} ended well but left no file in its output folder")
        target = Path(job.folder) / "result.zip"
        zip_files(made, job.out, target)
        names = entry_names(made, job.out)
        files = (MadeFile(target.name, str(target), "application/zip"),)
        return Outcome(model=program, data={"files": names[:1000], "file_count": len(names)}, files=files)


def _read(path: Path) -> dict[str, Program]:
    """Raises ValueError with every fault."""
    try:
        return _PROGRAMS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("; ".join(faults)) from error


def _named(job: EngineJob, program: Program) -> str | None:
    """The uploaded file, under the extension that the program wants."""
    path = job.files.get("file_url")
    if path is None or program.extension is None:
        return path
    return str(Path(path).rename(Path(path).with_suffix(program.extension)))


class _Watch:
    """Every line is a sign of life; a percentage in it moves the progress, which never goes back.

    Silence tells nothing, but is when a job that was taken back is noticed.
    """

    def __init__(self, program: Program, report: Report) -> None:
        self._progress = re.compile(program.progress) if program.progress else None
        self._report = report
        self._share = 0.0
        self._shown: str | None = None
        self.failure: str | None = None

    def on_line(self, line: str | None) -> None:
        if line is not None:
            self._note(line[:_LOOKED_AT_LETTERS])
        self._report(self._share, self._shown)

    def _note(self, line: str) -> None:
        said = _OPENJD.match(line)
        if said is None:
            self._shown = line[:_MESSAGE_LETTERS_MAX] or None
            self._share = max(self._share, self._found(line))
        elif said[1] == "progress":
            self._share = max(self._share, _share(said[2]))
        elif said[1] == "status":
            self._shown = said[2][:_MESSAGE_LETTERS_MAX]
        else:
            self.failure = said[2][:_MESSAGE_LETTERS_MAX]

    def _found(self, line: str) -> float:
        """What the configured regex finds. One that takes too long is not asked again."""
        if self._progress is None:
            return 0.0
        try:
            with at_most(_PROGRESS_S_MAX):
                found = self._progress.search(line)
        except TooLong:
            self._progress = None
            return 0.0
        return _share(found[1] or "") if found else 0.0


def _share(percent: str) -> float:
    try:
        share = float(percent) / 100
        return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    except ValueError:
        return 0.0


def _check_end(program: str, ended: Ended, failure: str | None) -> None:
    last = f"{failure}\n{ended.last}" if failure else ended.last
    if ended.code < 0:
        raise HostFault("command_killed", f"{program} was killed by signal {-ended.code}\n{last}")
    if ended.code > 0:
        raise InputFault("command_failed", f"{program} ended with exit code {ended.code}\n{last}")

"""What a farm's clients may ask for: engines, each for files of one kind, and types of arguments. A JSON file says."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import structlog
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from gpulease.contract.base import Wire
from orchestrator.compat.farm.programs import Program, ProgramsError, RegexType, read_programs
from orchestrator.compat.farm.regexes import Regexes
from orchestrator.compat.farm.template import OURS, UPLOADED_FILE, names_in
from orchestrator.jobs.submit import faults_of
from orchestrator.settings import Settings, SettingsError

log = structlog.get_logger()
ENGINE_ID_MAX = 255
"""The farm's own client reads an engine's number as one byte."""
BLENDER_FIELDS = frozenset({"samples", "width", "height", "resolution", "fps", "camera", "engine"})
"""Arguments that are fields of our engine `blender`, under the same name."""
BLENDER_ARGUMENTS = BLENDER_FIELDS | {"start_frame", "end_frame", "output_format"}

ArgTypeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
TypeName = Literal["file", "path", "extension", "word", "sentence", "natural", "integer", "real"]


class ArgType(Wire):
    """What an argument's whole value must look like: its own expression, or else that of its type."""

    argtype_id: ArgTypeId
    type: TypeName
    regex: str | None = Field(default=None, min_length=1, max_length=1000)

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str | None) -> str | None:
        try:
            re.compile(regex or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return regex


class Command(Wire):
    """A program of the engine `command`."""

    command: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")


class Engine(Wire):
    """`extension` empty takes any file. `render_argument` is what clients are shown; `runs` is what runs."""

    engine_id: int = Field(ge=1, le=ENGINE_ID_MAX)
    name: str = Field(min_length=1, max_length=64)
    extension: str = Field(pattern=r"^(\.[A-Za-z0-9]{1,16})?$")
    render_argument: str = Field(max_length=4000)
    download_path: str = Field(default="", max_length=500)
    runs: Literal["blender"] | Command

    @model_validator(mode="after")
    def _takes_the_file_and_says_nothing_in_vain(self) -> Self:
        names = names_in(self.render_argument)
        if UPLOADED_FILE not in names:
            raise ValueError(
                f"render_argument must hold $RENDERONLINE:{UPLOADED_FILE}: clients always send a file"
            )
        unread = sorted(names - OURS - BLENDER_ARGUMENTS) if self.runs == "blender" else []
        if unread:
            known = ", ".join(sorted(BLENDER_ARGUMENTS))
            raise ValueError(f"Blender would not be told {', '.join(unread)}; it knows {known}")
        return self


class Configuration(Wire):
    """The file as it is written."""

    engines: tuple[Engine, ...] = Field(min_length=1)
    argtypes: tuple[ArgType, ...] = ()


@dataclass(frozen=True, slots=True)
class Farm:
    """Checked, and by number and name."""

    engines: Mapping[int, Engine]
    argtypes: Mapping[str, ArgType]
    regexes: Regexes = field(default_factory=Regexes, compare=False)


BLENDER = Engine(
    engine_id=1,
    name="blender",
    extension=".blend",
    render_argument="blender -b $RENDERONLINE:@uploaded_file"
    " -s $RENDERONLINE:start_frame -e $RENDERONLINE:end_frame -a",
    runs="blender",
)
DEFAULT_ARGTYPES = (
    ArgType(argtype_id="start_frame", type="natural"),
    ArgType(argtype_id="end_frame", type="natural"),
    ArgType(argtype_id="output_format", type="extension"),
)
_PATH_BELOW = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
"""Our programs take no absolute path, which is all that a farm's own type allows."""


def load_farm(settings: Settings) -> Farm:
    """The farm of `settings.farm_engines`; without it Blender, and each of our programs that takes a file.

    Raises:
        SettingsError: with every fault, one a line.
    """
    path = settings.farm_engines
    faults: list[str] = []
    programs: Mapping[str, Program] | None = None
    try:
        programs = read_programs(settings.commands) if settings.commands else None
    except ProgramsError as error:
        faults.append(f"commands {settings.commands}: {error}")
    configured = _default(programs or {}) if path is None else _read(path, faults)
    if configured is not None:
        faults += [f"farm_engines {path}: {fault}" for fault in _faults(configured, programs)]
    if faults or configured is None:
        raise SettingsError("\n".join(faults))
    return Farm(
        {one.engine_id: one for one in configured.engines},
        {one.argtype_id: one for one in configured.argtypes},
    )


def _read(path: Path, faults: list[str]) -> Configuration | None:
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8"))
        return Configuration.model_validate(said)
    except ValidationError as error:
        faults += [f"farm_engines {path}: {one.field}: {one.message}" for one in faults_of(error)]
    except OSError as error:
        faults.append(f"farm_engines {path}: {error.strerror}")
    except ValueError as error:
        faults.append(f"farm_engines {path}: it is no JSON: {error}")
    return None


def _faults(configured: Configuration, programs: Mapping[str, Program] | None) -> Iterator[str]:
    """`programs` None: they are configured elsewhere, on the workers alone."""
    yield from _repeated("engine_id", (one.engine_id for one in configured.engines))
    yield from _repeated("argtype_id", (one.argtype_id for one in configured.argtypes))
    typed = {one.argtype_id for one in configured.argtypes} | OURS
    for engine in configured.engines:
        for name in sorted(names_in(engine.render_argument) - typed):
            yield f"engine {engine.engine_id}: render_argument names {name}, which no argtype describes"
        if programs is not None and engine.runs != "blender":
            yield from _command_faults(engine, engine.runs.command, programs)


def _command_faults(engine: Engine, name: str, programs: Mapping[str, Program]) -> Iterator[str]:
    program = programs.get(name)
    if program is None:
        yield f"engine {engine.engine_id}: there is no program {name!r} in the commands"
        return
    told = names_in(engine.render_argument) - OURS
    if missing := sorted(program.needs() - OURS - told):
        yield f"engine {engine.engine_id}: render_argument lacks {', '.join(missing)}, which {name} needs"
    if unknown := sorted(told - set(program.types)):
        yield f"engine {engine.engine_id}: {name} knows no argument {', '.join(unknown)}"


def _repeated(what: str, values: Iterator[int | str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{what} {value} is there {count} times"


def _default(programs: Mapping[str, Program]) -> Configuration:
    """Argument types are one list for all engines: a program that types a name in another way is left out."""
    engines = [BLENDER]
    argtypes = {one.argtype_id: one for one in DEFAULT_ARGTYPES}
    for number, (name, program) in enumerate(programs.items(), start=2):
        if UPLOADED_FILE not in program.needs():
            continue
        try:
            engine = _engine(number, name, program)
            typed = {one: _argtype(one, kind) for one, kind in program.types.items()}
        except ValidationError as error:
            log.warning("farm_program_left_out", program=name, why=str(faults_of(error)[0]))
            continue
        if all(argtypes.get(one, kind) == kind for one, kind in typed.items()):
            argtypes |= typed
            engines.append(engine)
        else:
            log.warning("farm_program_left_out", program=name, why="it types an argument as no other does")
    return Configuration(engines=tuple(engines), argtypes=tuple(argtypes.values()))


def _engine(number: int, name: str, program: Program) -> Engine:
    return Engine(
        engine_id=number,
        name=name,
        extension=program.extension or "",
        render_argument=program.line(),
        runs=Command(command=name),
    )


def _argtype(name: str, kind: str | RegexType) -> ArgType:
    if isinstance(kind, RegexType):
        return ArgType(argtype_id=name, type="sentence", regex=kind.regex)
    regex = _PATH_BELOW if kind == "path" else None
    return ArgType.model_validate({"argtype_id": name, "type": kind, "regex": regex})

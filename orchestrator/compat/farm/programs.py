"""The programs of the engine `command`, as far as a farm's clients must know them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from gpulease.contract.base import Lenient
from orchestrator.compat.farm.template import OUTPUT_DIR, PREFIX, UPLOADED_FILE, names_in
from orchestrator.jobs.submit import faults_of

_BARE = re.compile(rf"(?<![A-Za-z0-9_.:])({UPLOADED_FILE}|{OUTPUT_DIR})(?![A-Za-z0-9_])")
"""The two also stand without the prefix, in what the worker reads."""


class ProgramsError(Exception):
    """The file of programs cannot be read; the message says why."""


class RegexType(Lenient):
    regex: str


class Program(Lenient):
    """The worker, which runs it, checks the rest."""

    executable: str
    arguments: tuple[str, ...] = ()
    types: dict[
        str,
        Literal["file", "path", "extension", "word", "sentence", "natural", "integer", "real"] | RegexType,
    ] = Field(default_factory=dict)
    extension: str | None = None

    def line(self) -> str:
        """How a farm would write it, with every placeholder under its prefix."""
        words = [PurePath(self.executable).name, *self.arguments]
        return " ".join(_BARE.sub(rf"{PREFIX}\1", word) for word in words)

    def needs(self) -> frozenset[str]:
        return names_in(self.line())


_PROGRAMS = TypeAdapter(dict[str, Program])


def read_programs(path: Path) -> Mapping[str, Program]:
    """By name, in the order of the file. Raises: ProgramsError."""
    try:
        return _PROGRAMS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ProgramsError("; ".join(f"{one.field}: {one.message}" for one in faults_of(error))) from error
    except OSError as error:
        raise ProgramsError(error.strerror) from error
    except ValueError as error:
        raise ProgramsError(f"it is no JSON: {error}") from error

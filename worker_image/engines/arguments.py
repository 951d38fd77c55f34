"""Typed arguments of configured programs: from a job's words to an argument vector, never through a shell.

A placeholder `$RENDERONLINE:name` stands inside one element of the configured vector and stays inside that one
element, whatever its value holds; values are not looked through for placeholders again. `@uploaded_file` and
`@output_dir` also stand without that prefix.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gpulease.contract.base import Wire
from worker_image.engines.in_time import TooLong, at_most
from worker_image.faults import InputFault

UPLOADED_FILE = "@uploaded_file"
OUTPUT_DIR = "@output_dir"
REGEX_S_MAX = 1.0
_PLACEHOLDER = re.compile(
    r"\$RENDERONLINE:(@?[A-Za-z_][A-Za-z0-9_]*)|(?<![A-Za-z0-9_.])(@uploaded_file|@output_dir)(?![A-Za-z0-9_])"
)
_NUMERIC = frozenset({"natural", "integer", "real"})

TypeName = Literal["file", "path", "extension", "word", "sentence", "natural", "integer", "real"]
Value = str | int | float


class RegexType(Wire):
    """Anything that the whole of this expression matches; it must be anchored, so that it says so itself."""

    regex: str = Field(max_length=1000)

    @field_validator("regex")
    @classmethod
    def _is_anchored(cls, regex: str) -> str:
        if not (regex.startswith("^") and regex.endswith("$")):
            raise ValueError("begin it with ^ and end it with $")
        re.compile(regex)
        return regex


class Program(Wire):
    """A command-line program as the operator configured it."""

    executable: str = Field(min_length=1)
    arguments: tuple[str, ...] = ()
    types: dict[str, TypeName | RegexType] = Field(default_factory=dict)
    extension: str | None = Field(default=None, pattern=r"^\.[A-Za-z0-9]{1,16}$")
    progress: str | None = Field(default=None, description="A regex whose group 1 is percent done.")
    confined: bool = Field(
        default=False, description="It may write to the job's folder only, where Linux can."
    )

    @field_validator("progress")
    @classmethod
    def _has_one_group(cls, progress: str | None) -> str | None:
        if progress is not None and re.compile(progress).groups < 1:
            raise ValueError("the regex needs a group that holds the percentage")
        return progress

    @model_validator(mode="after")
    def _types_what_it_uses(self) -> Self:
        untyped = self.placeholders() - set(self.types) - {UPLOADED_FILE, OUTPUT_DIR}
        if untyped:
            raise ValueError(f"arguments without a type: {', '.join(sorted(untyped))}")
        return self

    def placeholders(self) -> set[str]:
        return {_name(found) for element in self.arguments for found in _PLACEHOLDER.finditer(element)}


@dataclass(frozen=True, slots=True)
class Places:
    """What the built-in placeholders stand for."""

    uploaded_file: str | None
    output_dir: str


def expand(program: Program, values: Mapping[str, Value], places: Places) -> list[str]:
    """The arguments of the program, one element for each configured one.

    Raises:
        InputFault: an argument is unknown, missing or not of its type; it is named.
    """
    _check_names(program, values)
    _check_file(program, places)
    checked = {name: _checked(name, program.types[name], value) for name, value in values.items()}
    known = checked | {UPLOADED_FILE: places.uploaded_file or "", OUTPUT_DIR: places.output_dir}
    return [_PLACEHOLDER.sub(lambda found: known[_name(found)], element) for element in program.arguments]


def _name(found: re.Match[str]) -> str:
    return str(found[1] or found[2])


def _check_names(program: Program, values: Mapping[str, Value]) -> None:
    wanted = program.placeholders() - {UPLOADED_FILE, OUTPUT_DIR}
    if unknown := sorted(set(values) - set(program.types)):
        raise InputFault("argument_unknown", f"the program has no argument {', '.join(unknown)}")
    if missing := sorted(wanted - set(values)):
        raise InputFault("argument_missing", f"the program needs the argument {', '.join(missing)}")


def _check_file(program: Program, places: Places) -> None:
    wants = UPLOADED_FILE in program.placeholders()
    if wants and places.uploaded_file is None:
        raise InputFault("file_missing", "the program needs a file: give file_url")
    if places.uploaded_file is not None and not wants:
        raise InputFault("file_unwanted", "the program takes no file: leave file_url out")


def _checked(name: str, kind: TypeName | RegexType, value: Value) -> str:
    text = str(value)
    shown = kind if isinstance(kind, str) else f"text like {kind.regex}"
    if not _fits(kind, text):
        raise InputFault("argument_invalid", f"argument {name}: {text[:100]!r} is not a {shown}")
    if text.startswith("-") and kind not in _NUMERIC:
        raise InputFault(
            "argument_invalid", f"argument {name} begins with '-', which programs read as an option"
        )
    return text


def _fits(kind: TypeName | RegexType, text: str) -> bool:
    if "\0" in text:
        return False
    if isinstance(kind, RegexType):
        return _matches(kind.regex, text)
    return _FITS[kind](text)


def _matches(regex: str, text: str) -> bool:
    """A regex that cannot decide in time has not matched."""
    try:
        with at_most(REGEX_S_MAX):
            return re.fullmatch(regex, text) is not None
    except TooLong:
        return False


def _like(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _is_path(text: str) -> bool:
    """Relative, and staying below where it starts."""
    return all(_FITS["file"](part) for part in text.split("/"))


def _is_real(text: str) -> bool:
    return _like(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")(text) and math.isfinite(float(text))


def _is_sentence(text: str) -> bool:
    return bool(text) and text.isprintable()


_FITS: dict[str, Callable[[str], bool]] = {
    "file": lambda text: (
        _is_sentence(text) and "/" not in text and "\\" not in text and not text.startswith(".")
    ),
    "path": _is_path,
    "extension": _like(r"\.?[A-Za-z0-9]{1,16}"),
    "word": _like(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}"),
    "sentence": _is_sentence,
    "natural": _like(r"\d{1,18}"),
    "integer": _like(r"[+-]?\d{1,18}"),
    "real": _is_real,
}

"""A client's arguments: each of a known type, and then what our engines are asked for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.problems import FieldFault, invalid
from orchestrator.compat.farm.bodies import Argument
from orchestrator.compat.farm.engines import BLENDER_FIELDS, Engine, Farm, TypeName
from orchestrator.compat.farm.template import OURS, names_in
from orchestrator.jobs.submit import parse

LETTERS_MAX = 1000
_FRAME = re.compile(r"\d{1,6}", re.ASCII)
_OUTPUTS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".exr": "EXR", ".mp4": "MP4"}
_PATTERNS: dict[TypeName, str] = {
    "file": r"[a-zA-Z0-9_\-]+\.[a-zA-Z0-9]{1,4}",
    "path": r"(/[a-zA-Z0-9_\-]+)+/?",
    "extension": r"\.[a-zA-Z0-9]{1,4}",
    "word": r"\w+",
    "sentence": r"[a-zA-Z0-9\s,.!?'-]+",
    "natural": r"\d+",
    "integer": r"-?\d+",
    "real": r"-?\d+(\.\d+)?",
}
"""As the farm has them, but for ASCII only and always for the whole value."""
_TYPES = {name: re.compile(pattern, re.ASCII) for name, pattern in _PATTERNS.items()}


async def checked(farm: Farm, engine: Engine, given: Sequence[Argument]) -> dict[str, str]:
    """Values by name: all known, of their type, none twice, and none missing that the engine's line names.

    Raises:
        ProblemError: naming the arguments.
    """
    values = {one.arg_type_id: str(one.value) for one in given}
    faults = [_unknown(farm, name) for name in values if name not in farm.argtypes]
    if len(values) < len(given):
        faults.append(FieldFault(field="Arguments", message="an ArgTypeId is there twice"))
    missing = names_in(engine.render_argument) - OURS - values.keys()
    faults += [
        FieldFault(field=name, message=f"engine {engine.engine_id} needs it") for name in sorted(missing)
    ]
    if not faults:
        faults = await _mistyped(farm, values)
    if faults:
        raise invalid(faults)
    return values


def _unknown(farm: Farm, name: str) -> FieldFault:
    known = ", ".join(sorted(farm.argtypes))
    return FieldFault(field=f"{name[:64]}", message=f"no such ArgTypeId is known here; use one of: {known}")


async def _mistyped(farm: Farm, values: Mapping[str, str]) -> list[FieldFault]:
    own = [(name, regex) for name in values if (regex := farm.argtypes[name].regex)]
    short = [(name, regex) for name, regex in own if len(values[name]) <= LETTERS_MAX]
    matches = await farm.regexes.match([(regex, values[name]) for name, regex in short])
    fits = {name: match for (name, _), match in zip(short, matches, strict=True)}
    for name in values.keys() - {name for name, _ in own}:
        pattern = _TYPES[farm.argtypes[name].type]
        fits[name] = len(values[name]) <= LETTERS_MAX and pattern.fullmatch(values[name]) is not None
    return [_mismatch(farm, name, value) for name, value in values.items() if not fits.get(name)]


def _mismatch(farm: Farm, name: str, value: str) -> FieldFault:
    argtype = farm.argtypes[name]
    like = f"type {argtype.type}" if argtype.regex is None else f"the form {argtype.regex}"
    return FieldFault(field=name, message=f"the value {value[:100]!r} must be of {like}")


def request_of(engine: Engine, values: Mapping[str, str], file_url: str) -> tuple[str, dict[str, Any]]:
    """Which of our engines, and its input, checked.

    Raises:
        ProblemError: naming the arguments.
    """
    if engine.runs == "blender":
        name, asked = "blender", _blender(values)
    else:
        arguments = {one: values[one] for one in names_in(engine.render_argument) - OURS}
        name, asked = "command", {"program": engine.runs.command, "arguments": arguments}
    asked["file_url"] = file_url
    parse(CATALOGUE[name].input_model, asked)
    return name, asked


def _blender(values: Mapping[str, str]) -> dict[str, Any]:
    asked: dict[str, Any] = {name: value for name, value in values.items() if name in BLENDER_FIELDS}
    if "start_frame" in values or "end_frame" in values:
        asked["frames"] = _frames(values)
    if said := values.get("output_format"):
        asked["output"] = _output(said)
    return asked


def _frames(values: Mapping[str, str]) -> str:
    first = _frame("start_frame", values.get("start_frame", "1"))
    last = _frame("end_frame", values.get("end_frame", str(first)))
    if last < first:
        raise invalid(
            [FieldFault(field="end_frame", message=f"{last} is before start_frame, which is {first}")]
        )
    return f"{first}-{last}"


def _frame(name: str, value: str) -> int:
    if not _FRAME.fullmatch(value):
        raise invalid([FieldFault(field=name, message="give a whole number of at most 6 digits")])
    return int(value)


def _output(extension: str) -> str:
    output = _OUTPUTS.get(f".{extension.lower().removeprefix('.')}")
    if output is None:
        raise invalid([FieldFault(field="output_format", message=f"use one of: {', '.join(_OUTPUTS)}")])
    return output

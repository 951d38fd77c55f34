"""From words on the command line to a job request: what the argument means, types, files to upload."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError

from gpulease.cli.upload import send
from gpulease.client import Client
from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import JobRequest

SUBJECTS = {
    "analyze": "image_url",
    "blender": "file_url",
    "command": "file_url",
    "csm": "text",
    "musetalk": "video_url",
    "portrait": "image_url",
    "video": "prompt",
    "whisper": "audio_url",
}
"""The field that the argument after the engine fills."""


def read_input(engine: str, subject: str | None, pairs: Sequence[str], model: str | None) -> dict[str, Any]:
    """The job's input; its URL fields may still hold paths of local files.

    Raises:
        typer.BadParameter: a pair has no `=`, or the engine takes no argument.
    """
    found: dict[str, Any] = {}
    if subject is not None:
        found[_subject_field(engine)] = subject
    if model is not None:
        found["model"] = model
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--input")
        _put(found, name.split("."), _value(engine, name, text))
    return found


def request_of(**fields: Any) -> JobRequest:
    """The request.

    Raises:
        typer.BadParameter: a field is not what the contract says; it names the first.
    """
    try:
        return JobRequest(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise typer.BadParameter(fault["msg"], param_hint=".".join(map(str, fault["loc"]))) from None


def _subject_field(engine: str) -> str:
    if engine not in SUBJECTS:
        raise typer.BadParameter(
            f"{engine!r} takes no argument; use --input NAME=VALUE", param_hint="[SUBJECT]"
        )
    return SUBJECTS[engine]


def _put(found: dict[str, Any], names: list[str], value: Any) -> None:
    """`arguments.width=640` fills a field of the object `arguments`."""
    *outer, last = names
    for name in outer:
        found = found.setdefault(name, {})
        if not isinstance(found, dict):
            raise typer.BadParameter(f"{name!r} is a value already", param_hint="--input")
    found[last] = value


def _value(engine: str, name: str, text: str) -> Any:
    """What the field's type makes of the text; else JSON; else the text itself."""
    spec = CATALOGUE.get(engine)
    declared = spec.input_model.model_fields.get(name) if spec else None
    if declared is not None and declared.annotation is not None:
        try:
            return TypeAdapter(declared.annotation).validate_python(text)
        except ValidationError:
            pass
    try:
        return json.loads(text)
    except ValueError:
        return text


def upload_files(
    client: Client, engine: str, given: dict[str, Any], *, as_json: bool = False
) -> dict[str, Any]:
    """The input with every local file uploaded and named by its reference.

    Raises:
        typer.BadParameter: a URL field holds neither a URL nor the path of a file.
    """
    spec = CATALOGUE.get(engine)
    fields = spec.url_fields if spec else ()
    uploaded = dict(given)
    for name in fields:
        value = given.get(name)
        if isinstance(value, str) and "://" not in value:
            uploaded[name] = send(client, _file(name, value), as_json=as_json).url
    return uploaded


def _file(name: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_file():
        raise typer.BadParameter(f"{value!r} is no URL, and there is no such file", param_hint=name)
    return path

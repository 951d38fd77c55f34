"""Gradio's components as `GET config` shows them, and the checks that Gradio makes before it calls a function."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["dropdown", "textbox", "audio", "slider", "number", "checkbox", "file"]


class GradioError(Exception):
    """The function is not called, or it raised; the client is told nothing but that."""


@dataclass(frozen=True, slots=True)
class Part:
    kind: Kind
    label: str
    value: Any = None
    props: dict[str, Any] = field(default_factory=dict)

    def as_json(self, number: int) -> dict[str, Any]:
        shown = {"label": self.label, "name": self.kind, "visible": True, **self.props}
        if self.value is not None:
            shown["value"] = self.value
        return {"id": number, "type": self.kind, "props": shown, "skip_api": False, "key": None}

    def read(self, given: Any, uploads: Mapping[str, Path]) -> Any:
        """What the function gets. Raises `GradioError`."""
        if self.kind == "slider" or (self.kind == "number" and given is not None):
            return self._number(given)
        if given is None or self.kind == "checkbox":
            return given
        if self.kind == "dropdown" and given not in [value for _, value in self.props["choices"]]:
            raise GradioError(f"{given!r} is not in the list of choices")
        if self.kind == "audio":
            return _uploaded(given, uploads)
        return str(given)

    def _number(self, given: Any) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise GradioError(f"{given!r} is no number")
        if not self.props["minimum"] <= given <= self.props["maximum"]:
            raise GradioError(f"{given} is not between the minimum and the maximum")
        return given


def dropdown(label: str, choices: tuple[str, ...], value: str) -> Part:
    return Part("dropdown", label, value, {"choices": [[one, one] for one in choices], "multiselect": False})


def textbox(label: str, value: str | None = None) -> Part:
    return Part("textbox", label, value, {"lines": 1})


def checkbox(label: str, *, value: bool = False) -> Part:
    return Part("checkbox", label, value)


def slider(label: str, span: tuple[float, float], value: float, step: float) -> Part:
    return Part("slider", label, value, {"minimum": span[0], "maximum": span[1], "step": step})


def number(label: str, span: tuple[float, float], value: float, step: float = 1) -> Part:
    return Part("number", label, value, {"minimum": span[0], "maximum": span[1], "step": step})


def _uploaded(given: Any, uploads: Mapping[str, Path]) -> Path:
    """Only what was uploaded may be named, and only as a `FileData`."""
    if not isinstance(given, dict) or (given.get("meta") or {}).get("_type") != "gradio.FileData":
        raise GradioError("an audio is given as FileData")
    try:
        return uploads[given["path"]]
    except KeyError as error:
        raise GradioError("a path that was not uploaded") from error

"""The node classes of an emulated ComfyUI: what `/object_info` says of them, and what they do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from comfyui.knobs import Knobs

SCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Made:
    """The values of a node's slots, and of an output node what it shows."""

    values: tuple[Any, ...] = ()
    shows: dict[str, Any] | None = None


Run = Callable[..., Awaitable[Made]]


@dataclass(frozen=True)
class NodeClass:
    """`inputs` are in the wire's notation: a list of a type or of choices, and how it is bounded."""

    inputs: dict[str, list[Any]]
    output: tuple[str, ...]
    run: Run
    is_output: bool = False
    optional: dict[str, list[Any]] = field(default_factory=dict)

    def info(self, name: str) -> dict[str, Any]:
        groups = {"required": self.inputs} | ({"optional": self.optional} if self.optional else {})
        return {
            "input": groups,
            "input_order": {group: list(names) for group, names in groups.items()},
            "output": list(self.output),
            "output_is_list": [False] * len(self.output),
            "output_name": list(self.output),
            "name": name,
            "display_name": name,
            "description": "",
            "python_module": "nodes",
            "category": "emulated",
            "output_node": self.is_output,
        }


def number(kind: str, default: float, low: float, high: float) -> list[Any]:
    return [kind, {"default": default, "min": low, "max": high, "step": 1 if kind == "INT" else 0.1}]


def catalogue(knobs: Knobs, uploads: list[str]) -> dict[str, NodeClass]:
    """As it is now: what is installed can change, and the lists of files do."""
    from comfyui import films, images  # noqa: PLC0415  They are made of the classes here.

    everything = {**images.classes(uploads), **films.classes(knobs, uploads)}
    return {name: one for name, one in everything.items() if name not in knobs.missing_nodes}

"""Holds bodies to the official OpenAPI documents, where these are at hand; they are no part of this project."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

VARIABLE = "GPULEASE_TEST_SALAD_SPEC"
API = "saladcloud-openapi.yaml"
IMDS = "saladcloud-imds-openapi.yaml"
_HOME = "salad:"
_METHODS = frozenset(("get", "post", "put", "patch", "delete"))


def find(name: str) -> Path:
    """Where the document is, or would be: beside the one that the environment names, or beside the repository."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).with_name(name) if name != API else Path(named)
    return Path(__file__).parents[3].parent / "shared" / "reference" / name


@dataclass(frozen=True)
class Document:
    """One OpenAPI 3.1 document; templates of paths are its own."""

    content: Mapping[str, Any]
    registry: Registry[Any]
    validators: dict[str, Draft202012Validator] = field(default_factory=dict)

    def request_faults(self, method: str, template: str, kind: str, body: Any) -> list[str]:
        return self._faults(self._operation(method, template).get("requestBody", {}), kind, body, "request")

    def takes(self, method: str, template: str) -> tuple[str, ...]:
        """The content types of the request's body; empty where there is none."""
        body, _ = self._resolved(self._operation(method, template).get("requestBody", {}))
        return tuple(body.get("content", {}))

    def response_faults(self, method: str, template: str, status: int, kind: str, body: Any) -> list[str]:
        """`body` is None for an empty one."""
        responses = self._operation(method, template)["responses"]
        if str(status) not in responses and status < 400:
            return [f"response: status {status} is not declared"]
        return self._faults(responses.get(str(status), responses.get("default", {})), kind, body, "response")

    def templates(self) -> set[tuple[str, str]]:
        paths = self.content["paths"]
        return {
            (method.upper(), path) for path, item in paths.items() for method in item if method in _METHODS
        }

    def _operation(self, method: str, template: str) -> Mapping[str, Any]:
        operation: Mapping[str, Any] = self.content["paths"][template][method.lower()]
        return operation

    def _faults(self, part: Mapping[str, Any], kind: str, body: Any, side: str) -> list[str]:
        resolved, pointer = self._resolved(part)
        contents = resolved.get("content", {})
        if not contents:
            return [] if body is None else [f"{side}: a body where none is declared"]
        if kind not in contents:
            return [f"{side}: {kind or 'no content type'} instead of {' or '.join(contents)}"]
        schema = {"$ref": f"{_HOME}{pointer}/content/{kind.replace('/', '~1')}/schema"}
        validator = Draft202012Validator(schema, registry=self.registry, format_checker=FormatChecker())
        return [
            f"{side}{error.json_path[1:]}: {error.message[:300]}" for error in validator.iter_errors(body)
        ]

    def _resolved(self, part: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        if "$ref" not in part:
            return part, ""
        pointer: str = part["$ref"]
        found: Any = self.content
        for step in pointer.removeprefix("#/").split("/"):
            found = found[step]
        return found, pointer


@functools.cache
def load(path: Path) -> Document:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(path.read_text(encoding="utf-8"), loader)
    _mend(content)
    _tighten(content["components"]["schemas"])
    resource = Resource.from_contents(content, default_specification=DRAFT202012)
    return Document(content, Registry().with_resource(_HOME, resource))


def _mend(content: dict[str, Any]) -> None:
    """A job's webhook is described as a time of at most 27 letters, so no URL could ever be returned."""
    job = content["components"]["schemas"].get("QueueJob")
    if job:
        job["properties"]["webhook"] = {"type": "string"}


def _tighten(node: Any) -> None:
    """Unknown properties are faults; `nullable` of OpenAPI 3.0, and null beside an enum, mean what they say."""
    if isinstance(node, list):
        for item in node:
            _tighten(item)
    if not isinstance(node, dict):
        return
    kinds = node.get("type")
    if node.get("nullable") is True and isinstance(kinds, str):
        node["type"] = kinds = [kinds, "null"]
    if isinstance(kinds, list) and "null" in kinds and "enum" in node and None not in node["enum"]:
        node["enum"].append(None)
    if isinstance(node.get("properties"), dict) and not {"allOf", "anyOf", "oneOf"} & node.keys():
        node.setdefault("additionalProperties", False)
    for item in node.values():
        _tighten(item)

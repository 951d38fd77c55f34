"""The OpenAPI document as it really is: errors are problem documents, and FastAPI's own form of them is never sent."""

from typing import Any

from fastapi import FastAPI

from gpulease.contract.problems import MEDIA_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_NEVER_SENT = ("HTTPValidationError", "ValidationError")


def correct(app: FastAPI) -> None:
    """The document that the app serves is the corrected one."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _corrected(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = {
                status: _as_sent(response)
                for status, response in operation["responses"].items()
                if not _is_never_sent(response)
            }
    for name in _NEVER_SENT:
        document["components"]["schemas"].pop(name, None)
    return document


def _as_sent(response: dict[str, Any]) -> dict[str, Any]:
    """FastAPI gives an error the media type of the route's answers."""
    for media_type, content in list(response.get("content", {}).items()):
        if content.get("schema") == _PROBLEM:
            response["content"] = {MEDIA_TYPE: response["content"].pop(media_type)}
    return response


def _is_never_sent(response: dict[str, Any]) -> bool:
    schema: dict[str, Any] = response.get("content", {}).get("application/json", {}).get("schema", {})
    return schema == {"$ref": "#/components/schemas/HTTPValidationError"}

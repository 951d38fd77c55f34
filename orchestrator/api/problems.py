"""One table from errors to replies; every error of every route is a problem document."""

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gpulease.contract.problems import MEDIA_TYPE, FieldFault, Problem, ProblemError, invalid
from orchestrator.storage.protocol import Denied, NoBucket, StorageFull, StorageUnavailable
from orchestrator.store.errors import StoreBusy, StoreFull

log = structlog.get_logger()
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong with the request, and how to mend it."},
    "5XX": {"model": Problem, "description": "What is wrong here; trying again later may help."},
}
"""For the OpenAPI document of every route."""
UNAVAILABLE: dict[type[Exception], tuple[int, str, str]] = {
    StoreBusy: (503, "The database is busy", "Another process holds it. Try again in a moment."),
    StoreFull: (507, "The disk is full", "Free space under the data directory; nothing was changed."),
    StorageFull: (507, "The storage is full", "Make room where results lie; nothing was changed."),
    **dict.fromkeys(
        (StorageUnavailable, Denied, NoBucket),
        (503, "The storage does not answer", "It is out of reach, or refuses us. Try again in a moment."),
    ),
}


UNREADABLE = (
    "it cannot be read: it must be JSON in UTF-8, not nested very deep, with numbers of a sane length"
)
_GAVE_UP = "There was an error parsing the body"


def reply(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """In ASCII, since a message may quote what nobody can encode."""
    body = problem.model_dump(exclude_none=True, exclude_defaults=False)
    if not problem.errors:
        body.pop("errors", None)
    return Response(json.dumps(body), problem.status, media_type=MEDIA_TYPE, headers=headers)


def headers_of(problem: Problem) -> dict[str, str]:
    """What goes with it: how to authenticate, or when to try again (`retry_after_s`, where it says that)."""
    wait_s = (problem.model_extra or {}).get("retry_after_s", 2 if problem.status == 503 else None)
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    return headers if wait_s is None else {**headers, "Retry-After": str(wait_s)}


def install(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _unavailable)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, _crashed)


def problem_of(error: Exception) -> Problem | None:
    """What an error of ours, or of a request, is to clients; None for what only broke."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, RequestValidationError):
        return invalid(_fault(one) for one in error.errors()).problem
    if type(error) in UNAVAILABLE:
        status, title, detail = UNAVAILABLE[type(error)]
        return Problem(title=title, status=status, detail=detail)
    return None


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  Registered for this type only.
    return reply(error.problem, headers_of(error.problem))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  Registered for this type only.
    return reply(invalid(_fault(one) for one in error.errors()).problem)


def _fault(found: Mapping[str, Any]) -> FieldFault:
    if found["type"] == "json_invalid":
        return FieldFault(field="body", message=f"it is no JSON at character {found['loc'][-1]}")
    field = ".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0])
    return FieldFault(field=field, message=str(found["msg"]).removeprefix("Value error, "))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  Registered for this type only.
    if error.status_code == 400:  # FastAPI's, of a body that a parser gave up on.
        said = UNREADABLE if error.detail == _GAVE_UP else str(error.detail)
        return reply(invalid([FieldFault(field="body", message=said)]).problem)
    detail = f"{request.method} {request.url.path}" if error.status_code in {404, 405} else None
    headers = dict(error.headers) if error.headers else None
    return reply(Problem(title=str(error.detail), status=error.status_code, detail=detail), headers)


async def _unavailable(_: Request, error: Exception) -> Response:
    status, title, detail = UNAVAILABLE[type(error)]
    log.warning("unavailable", error=str(error))
    return reply(Problem(title=title, status=status, detail=detail), {"Retry-After": "2"})


async def _hung_up(request: Request, _: Exception) -> Response:
    """Nobody is there to read it; it is no fault of ours."""
    log.debug("client_hung_up", path=request.url.path)
    return Response(status_code=400)


async def _crashed(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, error=repr(error), exc_info=error)
    return reply(Problem(title="Something broke here", status=500, detail="It was logged; try again later."))

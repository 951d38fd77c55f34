"""One table from errors to replies; every error of every route is a problem document."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gpulease.contract.problems import MEDIA_TYPE, FieldFault, Problem, ProblemError
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


def reply(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    body = problem.model_dump(exclude_none=True, exclude_defaults=False)
    if not problem.errors:
        body.pop("errors", None)
    return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _unavailable)
    app.add_exception_handler(Exception, _crashed)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101  Registered for this type only.
    headers = {"Retry-After": "2"} if error.problem.status == 503 else None
    if error.problem.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return reply(error.problem, headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  Registered for this type only.
    faults = [
        FieldFault(
            field=".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0]),
            message=str(fault["msg"]).removeprefix("Value error, "),
        )
        for fault in error.errors()
    ]
    return reply(
        Problem(
            type="/problems/invalid",
            title="The request is not valid",
            status=422,
            detail="Mend the named fields and send it again.",
            errors=tuple(faults),
        )
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  Registered for this type only.
    detail = f"{request.method} {request.url.path}" if error.status_code in {404, 405} else None
    headers = dict(error.headers) if error.headers else None
    return reply(Problem(title=str(error.detail), status=error.status_code, detail=detail), headers)


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    status, title, detail = UNAVAILABLE[type(error)]
    log.warning("unavailable", error=str(error))
    return reply(Problem(title=title, status=status, detail=detail), {"Retry-After": "2"})


async def _crashed(request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", path=request.url.path, error=repr(error), exc_info=error)
    return reply(Problem(title="Something broke here", status=500, detail="It was logged; try again later."))

"""What all surfaces share: an error becomes what their clients read, and a surface is served or switched off."""

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from gpulease.contract.problems import Problem
from orchestrator.api.problems import problem_of

Refuse = Callable[[Problem], Response]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
RETRY_S = 2
log = structlog.get_logger()


def refusing(refuse: Refuse) -> type[APIRoute]:
    """A route class for `APIRouter(route_class=…)` whose errors are said as `refuse` does: a wrong key, a wrong
    method and what broke here among them.
    """

    class Refusing(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:  # noqa: BLE001  What broke is logged, and said in this surface's words.
                    return _reply(refuse, error, request.url.path)

            return handled

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await super().handle(scope, receive, send)
            except HTTPException as error:  # 405, which is raised before the handler is asked.
                reply = _reply(refuse, error, scope["path"])
                await reply(scope, receive, send)

    return Refusing


def _reply(refuse: Refuse, error: Exception, path: str) -> Response:
    problem = _problem(error, path)
    response = refuse(problem)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status in {429, 503}:
        headers["Retry-After"] = str((problem.model_extra or {}).get("retry_after_s", RETRY_S))
    response.headers.update(headers)
    return response


def _problem(error: Exception, path: str) -> Problem:
    if found := problem_of(error):
        return found
    if isinstance(error, HTTPException):
        return Problem(title=str(error.detail), status=error.status_code)
    log.error("request_failed", path=path, error=repr(error), exc_info=error)
    return Problem(
        title="Internal server error", status=500, detail="Internal server error: it was logged here."
    )


def in_words(problem: Problem) -> str:
    """One line for clients that show a message: what is wrong, with the fields named."""
    if problem.errors:
        return "; ".join(f"{one.field}: {one.message}" for one in problem.errors)
    return problem.detail or problem.title

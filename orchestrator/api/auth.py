"""Who calls, as dependencies of routes: a user with a role, or a worker with its own key."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import Depends, Request

from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.access.identify import shown_in
from orchestrator.api.edge.rates import check_rate
from orchestrator.keys import Role
from orchestrator.parts import Parts
from orchestrator.store.rows import Worker

Area = Literal["jobs", "uploads", "fleet", "people"]
READING = ("GET", "HEAD")
TITLE = "This key may not do that"


async def parts_of(request: Request) -> Parts:
    """A coroutine, or else FastAPI would go to a thread for it at every request."""
    return _parts(request)


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101  Set once, by `create_app`.
    return parts


def origin_of(request: Request) -> str:
    """The address that called, for the audit and the throttles."""
    return request.client.host if request.client else ""


def needs(role: Role, area: Area) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets callers of this role, or of a stronger one, through, whose key has the area's scope."""

    async def caller(request: Request) -> Caller:
        parts = _parts(request)
        found = await parts.access.identify(request.headers, origin_of(request))
        await check_rate(parts.access.rates, found)
        if not found.at_least(role):
            raise forbidden(f"Your role here is {found.role!r}; this needs {role!r}.")
        scope = scope_of(area, request.method)
        if not found.may(scope):
            raise forbidden(f"This key has the scopes {', '.join(found.scopes)}; this needs {scope}.")
        return found

    return caller


def scope_of(area: Area, method: str) -> str:
    """What a key with scopes needs for that. Uploads are of use to jobs only, and are seen by who sees those."""
    if method in READING:
        return "jobs:read" if area == "uploads" else f"{area}:read"
    return f"{area}:write"


async def _worker_of(worker_id: str, request: Request) -> Worker:
    """The worker whose key came with the request.

    Raises:
        ProblemError: 401, the same for an unknown worker and for a wrong key.
    """
    secret = request.headers.get("x-internal-api-key") or secret_of(request) or ""
    worker = await _parts(request).owners.admit(worker_id, secret)
    if worker is None:
        raise unauthorized(
            "Send this worker's own key, or for a new one the enrolment key, as X-Internal-API-Key."
        )
    return worker


def secret_of(request: Request) -> str | None:
    shown = shown_in(request.headers)
    return shown.secret if shown is not None and shown.email is None else None


def unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, "A key is needed", detail, type="/problems/unauthorized")


def forbidden(detail: str) -> ProblemError:
    return ProblemError(403, TITLE, detail, type="/problems/forbidden")


async def operates(parts: Parts, request: Request) -> bool:
    """Whether an operator asks, on routes that answer everybody something."""
    try:
        caller = await parts.access.identify(request.headers, origin_of(request))
    except ProblemError:
        return False
    return caller.at_least("operator") and caller.may("fleet:read")


Shared = Annotated[Parts, Depends(parts_of)]
Admin = Annotated[Caller, Depends(needs("admin", "people"))]
"""Users, others' keys, subscriptions, audit."""
FleetAdmin = Annotated[Caller, Depends(needs("admin", "fleet"))]
Operator = Annotated[Caller, Depends(needs("operator", "fleet"))]
"""Fleet, plan, providers, money."""
Submitter = Annotated[Caller, Depends(needs("submitter", "jobs"))]
Uploader = Annotated[Caller, Depends(needs("submitter", "uploads"))]
UploadViewer = Annotated[Caller, Depends(needs("viewer", "uploads"))]
Viewer = Annotated[Caller, Depends(needs("viewer", "jobs"))]
Person = Annotated[Caller, Depends(needs("viewer", "people"))]
"""Anybody, about what is their own: keys, webhooks, projects."""
KnownWorker = Annotated[Worker, Depends(_worker_of)]

"""Who calls: an API key with a role, a worker with its own key, or the loopback's anonymous admin."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gpulease.contract.problems import ProblemError
from orchestrator.keys import ROLES, Role, hash_key
from orchestrator.parts import Parts
from orchestrator.store.rows import Worker


@dataclass(frozen=True, slots=True)
class Caller:
    """`owner` groups a key's jobs for fair shares and idempotency; empty while there are no keys."""

    owner: str
    role: Role

    @property
    def who(self) -> str:
        return f"key:{self.owner}" if self.owner else "anonymous"


def secret_of(request: Request) -> str | None:
    bearer = request.headers.get("authorization", "")
    if bearer[:7].lower() == "bearer ":
        return bearer[7:].strip()
    return request.headers.get("x-c3-render-key")


async def parts_of(request: Request) -> Parts:
    """A coroutine, or else FastAPI would go to a thread for it at every request."""
    return _parts(request)


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101  Set once, by `create_app`.
    return parts


def _needs(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets callers of this role, or of a stronger one, through."""

    async def caller(request: Request) -> Caller:
        found = await _caller(_parts(request), request)
        if ROLES.index(found.role) > ROLES.index(role):
            raise ProblemError(
                403,
                "This key may not do that",
                f"It has the role {found.role!r}; this needs {role!r}.",
                type="/problems/forbidden",
            )
        return found

    return caller


async def _caller(parts: Parts, request: Request) -> Caller:
    secret = secret_of(request)
    if secret is None:
        if parts.settings.loopback and not await parts.store.list_keys():
            return Caller("", "admin")
        raise unauthorized("Send a key as Authorization: Bearer KEY.")
    key = await parts.store.find_key(hash_key(secret))
    if key is None or key.revoked_at is not None:
        raise unauthorized("This key is not known, or was revoked.")
    return Caller(key.id, next(role for role in ROLES if role == key.role))


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


def unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, "A key is needed", detail, type="/problems/unauthorized")


Shared = Annotated[Parts, Depends(parts_of)]
Admin = Annotated[Caller, Depends(_needs("admin"))]
Operator = Annotated[Caller, Depends(_needs("operator"))]
Submitter = Annotated[Caller, Depends(_needs("submitter"))]
Viewer = Annotated[Caller, Depends(_needs("viewer"))]
KnownWorker = Annotated[Worker, Depends(_worker_of)]

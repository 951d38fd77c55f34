"""Who may call this worker's HTTP, and how it refuses: problem documents."""

import json
import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from gpulease.contract.problems import MEDIA_TYPE, FieldFault, Problem


class Refusal(Exception):
    """A problem document on its way out."""

    def __init__(self, status: int, title: str, detail: str, errors: tuple[FieldFault, ...] = ()) -> None:
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail, errors=errors)


@dataclass(frozen=True, slots=True)
class Guard:
    """`key` is asked of callers from other machines; without one they are refused."""

    key: str | None

    def admit(self, request: Request) -> None:
        """This machine's own processes come in; others with the worker's key. Raises `Refusal`."""
        host = request.client.host if request.client else ""
        if _is_own(host):
            return
        given = request.headers.get("x-internal-api-key", "")
        if self.key is None or not secrets.compare_digest(given.encode(), self.key.encode()):
            raise Refusal(401, "A key is needed", "Send the worker's key as X-Internal-API-Key.")


def _is_own(host: str) -> bool:
    """Whether it is this machine; where we listen on IPv6, its IPv4 address comes inside an IPv6 one."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).is_loopback


def faults_of(error: ValidationError) -> tuple[FieldFault, ...]:
    return tuple(
        FieldFault(field=".".join(map(str, one["loc"])), message=one["msg"])
        for one in error.errors(include_url=False)
    )


async def on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  It is registered for nothing else.
    return _reply(error.problem)


async def on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  As above.
    faults = tuple(
        FieldFault(field=".".join(map(str, one["loc"])), message=one["msg"]) for one in error.errors()
    )
    return _reply(Problem(title="The body is not valid", status=422, errors=faults))


def _reply(problem: Problem) -> Response:
    """In ASCII, since a message may quote what nobody can encode."""
    return Response(json.dumps(problem.model_dump()), problem.status, media_type=MEDIA_TYPE)

"""The instance metadata service: what a container asks of the machine under it, at an address of its own."""

import base64
import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salad.api.gate import Gate
from salad.cloud import Cloud
from salad.groups import Instance, Move, Order
from salad.spec import Document

_PROBLEM = "application/problem+json"
_CODES = {400: "bad-request", 403: "forbidden", 404: "container-not-found"}
_ORDERS = {
    "/v1/reallocate": Order(Move.MACHINE, "Instance Reallocated by IMDS Request"),
    "/v1/recreate": Order(Move.CREATE, "Instance Recreated"),
    "/v1/restart": Order(Move.START, "Instance Restarted"),
}


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def routes(gate: Gate, document: Document | None) -> list[Route]:
    table = (
        ("GET", "/v1/status", _status),
        ("GET", "/v1/token", _token),
        ("GET", "/v1/deletion-cost", _get_cost),
        ("PUT", "/v1/deletion-cost", _put_cost),
        *(("POST", path, _order) for path in _ORDERS),
    )

    def route(method: str, path: str, handler: Any) -> Route:
        async def endpoint(request: Request) -> Response:
            text = await request.body()
            try:
                body = _asked(request, document, path, text)
                reply = handler(gate.cloud, _caller(gate.cloud, request), path, body)
                status, kind = (204, "") if reply is None else (200, "application/json")
            except _Refused as error:
                status, kind = error.status, _PROBLEM
                reply = {"status": status, "code": _CODES[status], "detail": str(error)}
            if document is not None:
                faults = document.response_faults(method, path, status, kind, reply)
                gate.violations += [f"imds {method} {path}: {fault}" for fault in faults]
            content = None if reply is None else json.dumps(reply)
            return Response(content, status, media_type=kind or None)

        return Route("/{instance_id}" + path, endpoint, methods=[method])

    return [route(*row) for row in table]


def _asked(request: Request, document: Document | None, path: str, text: bytes) -> Any:
    if request.headers.get("metadata", "").lower() != "true":
        raise _Refused(403, "The Metadata header is missing.")
    body = json.loads(text) if text else None
    if document is not None and document.takes(request.method, path):
        faults = document.request_faults(request.method, path, "application/json", body)
        if faults:
            raise _Refused(400, "; ".join(faults))
    return body


def _caller(cloud: Cloud, request: Request) -> Instance:
    wanted = request.path_params["instance_id"]
    for group in cloud.groups.values():
        for instance in group.instances:
            if instance.id == wanted and instance.billed:
                return instance
    raise _Refused(404, "The container instance could not be found.")


def _status(cloud: Cloud, instance: Instance, path: str, body: Any) -> dict[str, Any]:
    return {"ready": instance.ready, "started": True}


def _token(cloud: Cloud, instance: Instance, path: str, body: Any) -> dict[str, Any]:
    """Shaped like a JSON Web Token, and signed by nobody."""
    claims = {"sub": instance.id, "salad_machine_id": instance.machine_id, "iat": int(time.time())}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return {"jwt": ".".join((*encoded, "unsigned"))}


def _get_cost(cloud: Cloud, instance: Instance, path: str, body: Any) -> dict[str, Any]:
    return {"deletion_cost": instance.deletion_cost}


def _put_cost(cloud: Cloud, instance: Instance, path: str, body: Any) -> None:
    instance.deletion_cost = body["deletion_cost"]


def _order(cloud: Cloud, instance: Instance, path: str, body: Any) -> None:
    instance.order(_ORDERS[path])

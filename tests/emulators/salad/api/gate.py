"""What every call passes: the faults, the key, the names, and both bodies held to the official document."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salad.api.replies import PATCH_KIND, Asked, Handler, Problem, Reply, page
from salad.cloud import Cloud
from salad.spec import Document


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call, for tests to count."""

    method: str
    path: str
    status: int


@dataclass
class Gate:
    """`violations` are ours and our callers' bodies that the document does not allow."""

    cloud: Cloud
    document: Document | None
    violations: list[str] = field(default_factory=list)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))

    def routes(self, table: Mapping[tuple[str, str], Handler]) -> list[Route]:
        return [self._route(method, template, handler) for (method, template), handler in table.items()]

    def _route(self, method: str, template: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            knobs, dice = self.cloud.knobs, self.cloud.dice
            await asyncio.sleep(dice.up_to("latency_s", knobs.latency_s))
            text = await request.body()
            try:
                reply = self._refused(request) or self._answered(request, template, handler, text)
            except Problem as problem:
                reply = problem.reply()
            self._check_reply(method, template, reply)
            self.calls.append(Call(method, request.url.path, reply.status))
            return response(reply)

        return Route(template, endpoint, methods=[method])

    def _refused(self, request: Request) -> Reply | None:
        cloud, agent = self.cloud, request.headers.get("user-agent", "")
        if not agent or agent.startswith("Python-urllib"):
            return page(403)
        limited = cloud.dice.hits("rate_limited")
        told = cloud.dice.hits("rate_limited_wait")
        if limited or told:
            wait = told or cloud.dice.up_to("retry_after", 1.0) < 0.5
            headers = {"Retry-After": str(cloud.knobs.retry_after_s)} if wait else {}
            return Problem(429, "Too many requests.").reply(headers)
        self._check_caller(request)
        if request.method == "GET" and cloud.dice.hits("html_errors"):
            return page(502)
        return None

    def _check_caller(self, request: Request) -> None:
        """The document declares a 401 for few calls, and a 403 for the others."""
        config = self.cloud.config
        if request.headers.get("salad-api-key") != config.key:
            raise Problem(401 if "/availability/" in request.url.path else 403, "The API key is not valid.")
        if request.path_params["organization_name"] != config.organization:
            raise Problem(403, "The caller is no member of the organization.")
        if request.path_params.get("project_name", config.project) != config.project:
            raise Problem(404, "The project could not be found.")

    def _answered(self, request: Request, template: str, handler: Handler, text: bytes) -> Reply:
        body = self._body(request, template, text)
        return handler(self.cloud, Asked(request.path_params, request.query_params, body))

    def _body(self, request: Request, template: str, text: bytes) -> Any:
        if request.method == "PATCH" or (request.method == "POST" and text):
            kind = request.headers.get("content-type", "").partition(";")[0].strip()
            wanted = PATCH_KIND if request.method == "PATCH" else "application/json"
            if kind != wanted:
                raise Problem(415, f"The content type must be {wanted}.")
            body = _decoded(text)
        else:
            kind, body = "", None
        if self.document is not None:
            self._check_request(self.document, request.method, template, kind, body)
        return body

    def _check_request(self, document: Document, method: str, template: str, kind: str, body: Any) -> None:
        faults = document.request_faults(method, template, kind, body)
        self._record(method, template, faults)
        if faults:
            raise Problem(400, "; ".join(faults))

    def _check_reply(self, method: str, template: str, reply: Reply) -> None:
        if self.document is not None and not reply.page:
            faults = self.document.response_faults(method, template, reply.status, reply.kind, reply.body)
            self._record(method, template, faults)

    def _record(self, method: str, template: str, faults: list[str]) -> None:
        self.violations += [f"{method} {template}: {fault}" for fault in faults]


def response(reply: Reply) -> Response:
    headers = dict(reply.headers)
    if reply.page:
        return Response(reply.body, reply.status, headers, media_type=reply.kind)
    if reply.body is None:
        return Response(None, reply.status, headers)
    return Response(json.dumps(reply.body), reply.status, headers, media_type=reply.kind)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Problem(400, "The body is not JSON.") from error

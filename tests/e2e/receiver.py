"""Where webhooks arrive: every delivery is kept by the id that it came under."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loopback_server import LoopbackServer


@dataclass
class Receiver:
    """Of every `refuses_every` deliveries it refuses one, which then has to come again."""

    refuses_every: int = 0
    url: str = ""
    taken: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Webhook ids by job, in order of arrival; refused ones are not among them."""
    statuses: dict[str, str] = field(default_factory=dict)
    """What the last delivery said of each job."""
    refused: int = 0
    _came: int = 0

    async def __aenter__(self) -> Self:
        self._server = await LoopbackServer.start(
            Starlette(routes=[Route("/hook", self._take, methods=["POST"])])
        )
        self.url = f"http://{self._server.address}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()

    async def _take(self, request: Request) -> Response:
        told = json.loads(await request.body())
        self._came += 1
        if self.refuses_every and self._came % self.refuses_every == 0:
            self.refused += 1
            return Response(status_code=503)
        self.taken[told["id"]].append(request.headers["webhook-id"])
        self.statuses[told["id"]] = told["status"]
        return Response(status_code=204)

"""A render node as people run it already: `/hpc/status`, `/hpc/start`, `/hpc/stop`, and the programs really run.

async with HpcNode({"blender": "/usr/bin/blender"}) as node:
...  # node.url, node.knobs, await node.restart(), await node.vanish(), await node.appear()
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hpc.renderer import Refused, Renderer
from loopback_server import LoopbackServer


@dataclass
class HpcKnobs:
    """`hung`: it takes connections and says nothing. `torn_refusals`: a refused start breaks the connection off
    after its answer, as the original does.
    """

    hung: bool = False
    torn_refusals: bool = False


class HpcNode:
    """`engines` are executables by their ids. No answer has a content type, as with the original."""

    def __init__(self, engines: Mapping[str, str], knobs: HpcKnobs | None = None) -> None:
        self.knobs = knobs or HpcKnobs()
        self.requests: list[tuple[str, Any]] = []
        self._engines = dict(engines)

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="hpc-")
        self.renderer = Renderer(self._engines, self._folder.name)
        routes = [
            Route("/hpc/status", self._status),
            Route("/hpc/start", self._start, methods=["POST"]),
            Route("/hpc/stop", self._stop, methods=["POST"]),
        ]
        self._app = _Gate(self.knobs, Starlette(routes=routes))
        self._server = await LoopbackServer.start(self._app)
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()
        await self.renderer.aclose()
        self._folder.cleanup()

    async def restart(self, *, program_survives: bool = False) -> None:
        """The server is a new process that knows of no task; what it had started may run on."""
        if not program_survives:
            await self.renderer.aclose()
        self.renderer = Renderer(self._engines, self._folder.name, orphans=self.renderer)

    async def vanish(self) -> None:
        """Nobody can reach it; what runs on it runs on."""
        await self._server.cut()

    async def appear(self) -> None:
        await self._server.aclose()
        self._server = await LoopbackServer.start(self._app, self.port)

    async def _status(self, _: Request) -> Response:
        return _said({"EngineIds": list(self._engines), "Task": self.renderer.task()})

    async def _start(self, request: Request) -> Response:
        body = await _json(request)
        self.requests.append(("start", body))
        try:
            message = await self.renderer.start(body)
        except Refused as refusal:
            answer = {"IsSuccess": False, "Message": str(refusal)}
            return _torn(answer) if self.knobs.torn_refusals else _said(answer, 400)
        except OSError:
            return Response(status_code=500)
        return _said({"IsSuccess": True, "Message": message})

    async def _stop(self, request: Request) -> Response:
        body = await _json(request)
        self.requests.append(("stop", body))
        try:
            message = await self.renderer.stop(body)
        except Refused as refusal:
            return _said({"IsSuccess": False, "Message": str(refusal)}, 400)
        return _said({"IsSuccess": True, "Message": message})


class _Gate:
    def __init__(self, knobs: HpcKnobs, app: ASGIApp) -> None:
        self._knobs = knobs
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._knobs.hung:
            await asyncio.Event().wait()
        await self._app(scope, receive, send)


def _said(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status)


def _torn(body: dict[str, Any]) -> Response:
    async def said() -> AsyncIterator[str]:
        yield json.dumps(body)
        raise ConnectionAbortedError("the status cannot be set twice")

    return StreamingResponse(said(), 400)


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None

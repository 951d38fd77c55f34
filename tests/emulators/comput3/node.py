"""One emulated node: a server of its own with the key checked in front of two Gradio pages, and of ComfyUI at `/ui`."""

import asyncio
import shutil
from pathlib import Path
from typing import Literal, Self

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from comfyui.comfy import Comfy
from comfyui.routes import routes_of
from comput3.csm import csm_page
from comput3.gradio_app import GradioApp
from comput3.models import LocalModels
from comput3.whisperx import whisperx_page
from comput3.work import Work
from loopback_server import LoopbackServer

BAD_GATEWAY = (
    "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
)
Death = Literal["close", "hang"]


class Node:
    """`booted` and `hung` are turned by its cloud. A dead node's port answers nobody until `aclose`."""

    def __init__(self, key: str, pages: list[GradioApp], comfy: Comfy, folder: Path) -> None:
        self.booted = False
        self.hung = False
        self._key = key
        self._pages = pages
        self.comfy = comfy
        self._folder = folder
        self._server: LoopbackServer | None = None

    @classmethod
    async def start(cls, key: str, models: LocalModels, work: Work, folder: Path) -> Self:
        pages = {"/csm": csm_page(models, work), "/whisper": whisperx_page(models, work)}
        apps = [
            GradioApp(base, blocks, folder / base[1:], lambda: work.knobs.heartbeat_s)
            for base, blocks in pages.items()
        ]
        node = cls(key, apps, Comfy(folder / "ui"), folder)
        apps_routes = [route for app in apps for route in app.routes()]
        routes = [Route("/", _root), *apps_routes, *routes_of(node.comfy, "/ui")]
        node._server = await LoopbackServer.start(_Gate(node, Starlette(routes=routes)), sockets=True)
        node.comfy.start()
        return node

    @property
    def address(self) -> str:
        assert self._server is not None
        return self._server.address

    async def die(self, how: Death) -> None:
        """Whatever runs on it is lost, and nobody is told."""
        self.hung = how == "hang"
        for page in self._pages:
            page.frozen = True
        if how == "close" and self._server is not None:
            await self._server.cut()
        await self.comfy.stop(silent=how == "hang")
        for page in self._pages:
            await page.stop()

    async def aclose(self) -> None:
        await self.die("close")
        if self._server is not None:
            await self._server.aclose()
        shutil.rmtree(self._folder, ignore_errors=True)

    def refusal(self, request: HTTPConnection) -> Response | None:
        if request.headers.get("x-c3-api-key") != self._key:
            return JSONResponse({"message": "Unauthorized"}, 401)
        return None if self.booted else bad_gateway()


class _Gate:
    """What the proxy in front of a node does."""

    def __init__(self, node: Node, app: ASGIApp) -> None:
        self._node = node
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._node.hung:
            await asyncio.Event().wait()
        refusal = self._node.refusal(HTTPConnection(scope))
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await (refusal or self._app)(scope, receive, send)


def bad_gateway() -> Response:
    return HTMLResponse(BAD_GATEWAY, 502)


async def _root(_: Request) -> Response:
    return PlainTextResponse("ok")

"""An emulated ComfyUI as a real HTTP and WebSocket server on loopback.

async with ComfyServer(folder) as comfy:
    ...  # comfy.url, comfy.core.knobs, comfy.core.history
"""

from pathlib import Path
from typing import Self

from starlette.applications import Starlette

from comfyui.comfy import Comfy
from comfyui.knobs import Knobs
from comfyui.routes import routes_of
from loopback_server import LoopbackServer


class ComfyServer:
    """`core` exchanges itself when the server is started anew; the files stay."""

    def __init__(self, folder: Path, knobs: Knobs | None = None) -> None:
        self.core = Comfy(folder, knobs)
        self._server: LoopbackServer | None = None

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://{self._server.address}"

    async def up(self) -> None:
        """On the port that it had before."""
        port = 0 if self._server is None else self._server.port
        app = Starlette(routes=routes_of(self.core))
        self._server = await LoopbackServer.start(app, port, sockets=True)
        self.core.start()

    async def down(self) -> None:
        """Everything in its memory is lost."""
        assert self._server is not None
        await self.core.stop()
        await self._server.aclose()

    async def restart(self) -> None:
        await self.down()
        self.core = Comfy(self.core.folder, self.core.knobs)
        await self.up()

"""One HTTP server on a port of its own on this machine, in the running event loop, that can also die like a machine."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Self

import uvicorn


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class LoopbackServer:
    """`cut` ends it as a power cut does. The port stays taken until `aclose`, so that nobody else answers there."""

    def __init__(self, listener: socket.socket, server: uvicorn.Server) -> None:
        self.port: int = listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._server = server
        self._serving: asyncio.Task[None]
        self._cutting: asyncio.Task[None] | None = None
        self._grave: socket.socket | None = None

    @classmethod
    async def start(cls, app: Any, port: int = 0, *, sockets: bool = False) -> Self:
        """`sockets`: WebSockets are spoken too."""
        listener = socket.create_server(("127.0.0.1", port))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        spoken = "websockets-sansio" if sockets else "none"
        config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False, ws=spoken)
        found = cls(listener, _Quiet(config))
        found._serving = asyncio.create_task(found._server.serve(sockets=[listener]))
        while not found._server.started:
            await asyncio.sleep(0)
        return found

    async def cut(self) -> None:
        """Every connection is reset and what was being answered is dropped; new ones are refused. Repeatable."""
        if self._cutting is None:
            self._cutting = asyncio.create_task(self._cut())
        await asyncio.shield(self._cutting)

    async def _cut(self) -> None:
        state = self._server.server_state
        for server in self._server.servers:
            server.close()
        for connection in list(state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        self._server.should_exit = self._server.force_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._serving
        self._grave = _taken(self.port)

    async def aclose(self) -> None:
        await self.cut()
        if self._grave is not None:
            self._grave.close()
            self._grave = None


def _taken(port: int) -> socket.socket | None:
    """The port, bound without listening: whoever connects is refused."""
    grave = socket.socket()
    grave.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        grave.bind(("127.0.0.1", port))
    except OSError:
        grave.close()
        return None
    return grave

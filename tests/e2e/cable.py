"""A cable to an HTTP server: TCP passed on both ways, until it is cut, or keeps the answer to itself."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Cable:
    """`url` is the server's, with our port in place of its own.

    While `cut`, what is connected is dropped and nobody else gets through. `keeps` is how the request begins whose
    answer, like all later ones of its connection, is kept back; the server has got that request and does not know.
    """

    def __init__(self, server_url: str, port: int = 0) -> None:
        self._server_url = server_url
        self._port = port
        self.cut = False
        self.keeps: bytes | None = None
        self.url = ""
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]
        self.url = urlsplit(self._server_url)._replace(netloc=f"127.0.0.1:{self._port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = urlsplit(self._server_url)
        try:
            if self.cut:
                return
            far_reader, far_writer = await asyncio.open_connection(server.hostname, server.port)
        except OSError:
            return
        else:
            await self._pass_on((reader, writer), (far_reader, far_writer))
        finally:
            writer.transport.abort()

    async def _pass_on(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        kept = asyncio.Event()
        self._ends |= {near[1], far[1]}
        ways = [
            asyncio.create_task(self._there(near[0], far[1], kept)),
            asyncio.create_task(_back(far[0], near[1], kept)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._ends -= {near[1], far[1]}
            near[1].transport.abort()
            far[1].transport.abort()

    async def _there(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.keeps is not None and data.startswith(self.keeps):
                    kept.set()
                writer.write(data)
                await writer.drain()


async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if not kept.is_set():
                writer.write(data)
                await writer.drain()

"""A web server on a raw socket that says exactly what it is told, and so can break any rule of HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RoughWeb:
    """Gives its replies in order, the last one again and again; `seen` has the requests' first lines."""

    def __init__(self, replies: list[bytes | Talk]) -> None:
        self.seen: list[str] = []
        self.heads: list[str] = []
        self._replies = replies
        self._talking: set[asyncio.Task] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talking.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            reply = self._replies[min(len(self.seen), len(self._replies) - 1)]
            self.seen.append(head.partition("\r\n")[0])
            self.heads.append(head)
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._talking.discard(asyncio.current_task())

    async def stop(self) -> None:
        for task in list(self._talking):
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)


@asynccontextmanager
async def rough_web(*replies: bytes | Talk) -> AsyncIterator[tuple[str, RoughWeb]]:
    web = RoughWeb(list(replies))
    server = await asyncio.start_server(web._serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", web
    finally:
        server.close()
        await web.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 2)


def said(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A reply with a Content-Length, which need not be true."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def drip(head: bytes, pause_s: float = 0.02, piece: bytes = b"x") -> Talk:
    """Says the head at once, and then a little again and again."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk

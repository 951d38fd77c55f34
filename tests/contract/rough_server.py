"""A server that misbehaves below HTTP: it answers with the bytes that it was given, or hangs, dribbles and cuts."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

CUT = b""


def answer(status: int, body: bytes | str = b"", kind: str = "application/json", **headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


@dataclass
class RoughServer:
    """`replies` are given in their order, the last one for ever. `heard` is every request, head and body."""

    replies: deque[bytes] = field(default_factory=lambda: deque([answer(200, "{}")]))
    heard: list[bytes] = field(default_factory=list)
    url: str = ""
    dribble_s: float | None = None
    """Between two bytes of an answer."""

    def will(self, *replies: bytes) -> None:
        self.replies = deque(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            self.heard.append(head + await reader.readexactly(length))
            await self._answer(writer, self.replies[0] if len(self.replies) == 1 else self.replies.popleft())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        if self.dribble_s is None:
            writer.write(reply)
            await writer.drain()
            return
        for at in range(len(reply)):
            writer.write(reply[at : at + 1])
            await writer.drain()
            await asyncio.sleep(self.dribble_s)


@contextlib.asynccontextmanager
async def rough_server() -> AsyncIterator[RoughServer]:
    rough = RoughServer()
    server = await asyncio.start_server(rough.serve, "127.0.0.1", 0)
    rough.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield rough

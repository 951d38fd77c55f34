"""A web server on loopback that says exactly what it is told, and so can lie, dawdle and lead astray."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

Talk = Callable[[BinaryIO], None]
HEAD_BYTES_MAX = 64 * 1024


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are what these servers are for."""


class HostileWeb:
    """Each path has its reply, whole bytes or a talk; `seen` has the request lines that came."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._replies: dict[str, bytes | Talk] = {}
        self.stopping = threading.Event()
        web = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                web.answer(self.rfile, self.wfile)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def give(self, path: str, reply: bytes | Talk) -> str:
        """The URL at which the reply is had; `path` is as in a request line."""
        self._replies[path] = reply
        return self.url + path

    def answer(self, asks: BinaryIO, says: BinaryIO) -> None:
        line = asks.readline(HEAD_BYTES_MAX).decode("latin-1")
        while asks.readline(HEAD_BYTES_MAX) not in (b"\r\n", b""):
            pass
        self.seen.append(line.strip())
        reply = self._replies.get(line.split(" ")[1], said(b"", status="404 Not Found"))
        with contextlib.suppress(OSError):
            if isinstance(reply, bytes):
                says.write(reply)
            else:
                reply(says)

    def drip(self, head: bytes, pause_s: float = 0.2) -> Talk:
        """Says the head at once, and then a letter now and then, without end."""

        def talk(says: BinaryIO) -> None:
            says.write(head)
            while not self.stopping.is_set():
                says.write(b"x")
                says.flush()
                time.sleep(pause_s)

        return talk

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def hostile_web() -> Iterator[HostileWeb]:
    web = HostileWeb()
    try:
        yield web
    finally:
        web.close()


def said(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A reply with a Content-Length, which need not be true."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


def moved(to: str) -> bytes:
    return said(b"", f"Location: {to}", status="302 Found")

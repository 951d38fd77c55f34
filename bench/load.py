"""What the benches share: servers as processes of their own, and a light HTTP load over raw sockets."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def process(
    command: list[str], *, health: str | None = None, **extra: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as the block; ready when `health` answers 200."""
    with tempfile.TemporaryFile() as output:
        started = subprocess.Popen(command, env={**os.environ, **extra}, stdout=output, stderr=output)
        try:
            if health:
                _await(health, started)
            yield started
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read().decode()[-3000:])
            raise
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(30)
            started.kill()


@contextlib.contextmanager
def orchestrator(data: Path, **extra: str) -> Iterator[str]:
    """`gpulease up` on a free port; yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", "gpulease", "up", "--port", str(port), "--data", str(data)]
    url = f"http://127.0.0.1:{port}"
    with process(command, health=f"{url}/readyz", GPULEASE_LOG_LEVEL="warning", **extra):
        yield url


def _await(url: str, started: subprocess.Popen[bytes], patience_s: float = 60) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until and started.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up")


async def post_many(url: str, path: str, bodies: list[bytes], connections: int = 32) -> float:
    """Posts all bodies over kept-alive connections. Returns replies a second; anything but 2xx raises."""
    port = int(url.rsplit(":", 1)[1])
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    waiting = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]

    async def run() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            writer.write(waiting.pop())
            await _reply(reader)
        writer.close()

    before = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(connections)))
    return len(bodies) / (time.perf_counter() - before)


async def _reply(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if not head.startswith("http/1.1 2"):
        raise RuntimeError(head)
    await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))

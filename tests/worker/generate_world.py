"""A real worker process that serves its own HTTP and has no orchestrator, and a server for its inputs."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from loopback_server import LoopbackServer

START_S_MAX = 60.0
# Each run leaves a line beside itself, so that runs can be counted.
MAKE = """
import pathlib, sys, time
runs, out, seconds = sys.argv[1:]
with open(runs, "a") as file: file.write("run\\n")
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    print("openjd_progress: 50", flush=True)
    time.sleep(0.1)
pathlib.Path(out, "made.txt").write_text("made")
"""


class Serving:
    """One worker; `runs` counts how often its program ran."""

    def __init__(self, folder: Path, client: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.client = client
        self.process = process

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    @property
    def runs(self) -> int:
        path = self.folder / "runs.txt"
        return len(path.read_text().split()) if path.exists() else 0

    async def generate(self, body: object, **headers: str) -> httpx.Response:
        return await self.client.post("/generate", json=body, headers=headers)


def making(job_id: str, seconds: float = 0) -> dict:
    """The body of a job that takes so long, and makes one zip."""
    asked = {"program": "make", "arguments": {"seconds": seconds}}
    return {"engine": "command", "job_id": job_id, "input": asked}


@contextlib.asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Serving]:
    """Starts it, waits until it listens, and ends it; its log is shown if it does not listen."""
    folder.mkdir()  # noqa: ASYNC240  Nothing else runs in this loop yet.
    programs, log = folder / "programs.json", folder / "worker.log"
    words = ["-c", MAKE, str(folder / "runs.txt"), "$RENDERONLINE:@output_dir", "$RENDERONLINE:seconds"]
    make = {"executable": sys.executable, "arguments": words, "types": {"seconds": "real"}}
    programs.write_text(json.dumps({"make": make}))
    own = {
        "GPULEASE_COMMANDS": str(programs),
        "GPULEASE_SCRATCH": str(folder / "scratch"),
        "GPULEASE_WORKER_PORT": "0",
        "GPULEASE_WORKER_GRACE_S": "0",
        "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
    }
    process = start(log, own | settings)
    try:
        port = await _port(process, log)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False
        ) as client:
            yield Serving(folder, client, process)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 20)
        process.kill()
        process.wait()


def start(log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """A worker with these settings, and none of its caller's."""
    ours = ("GPULEASE_", "B2_", "MINIO_", "MUSETALK_", "OUTPUT_DIR", "AWS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "worker_image"], env=environment | settings, stdout=file, stderr=file
        )


async def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + START_S_MAX
    while not (found := _listening(log)):
        assert process.poll() is None, _said(log)
        assert time.monotonic() < end, _said(log)
        await asyncio.sleep(0.05)
    return int(found[1])


def _listening(log: Path) -> re.Match[str] | None:
    return re.search(r"listening .*port=(\d+)", log.read_text())


def _said(log: Path) -> str:
    return log.read_text()


@contextlib.asynccontextmanager
async def files_served(files: dict[str, Path]) -> AsyncIterator[str]:
    """Serves files by name on loopback; yields the base URL."""

    async def give(request) -> Response:
        return Response(files[request.path_params["name"]].read_bytes())

    server = await LoopbackServer.start(Starlette(routes=[Route("/{name}", give)]))
    try:
        yield f"http://{server.address}"
    finally:
        await server.aclose()

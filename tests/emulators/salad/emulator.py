"""Salad as a real HTTP server on loopback, whose instances are real worker processes.

`async with SaladEmulator(key="k") as cloud:` serves the API at `cloud.url`, scripts at `/emulator/{bill,live,knobs,
violations}` and each container's metadata service. A container of any image runs `argv`, whatever its `command`.
Queue autoscalers and scheduled scaling are kept and not obeyed.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from loopback_server import LoopbackServer
from salad import spec, undertaker
from salad.api import account, containers, control, imds, queues
from salad.api.gate import Call, Gate, response
from salad.api.replies import Problem
from salad.cloud import Cloud, Config
from salad.groups import Move, Order
from salad.knobs import Dice, Knobs
from salad.ledger import Line, Living
from salad.life import live

BASE = "/api/public"
WORKER = (sys.executable, "-m", "worker_image")


class SaladEmulator:
    """`folder` keeps the logs of containers and outlives us; without one, nothing does."""

    def __init__(
        self,
        key: str,
        organization: str = "acme",
        project: str = "render",
        seed: int = 0,
        *,
        argv: tuple[str, ...] = WORKER,
        knobs: Knobs | None = None,
        folder: Path | None = None,
        port: int = 0,
    ) -> None:
        self.knobs = knobs or Knobs()
        self._port = port
        self._own_folder = folder is None
        self._folder = Path(tempfile.mkdtemp(prefix="salad-")) if folder is None else folder
        config = Config(key, organization, project, seed, argv, self._folder.resolve())
        self._cloud = Cloud(config, self.knobs, Dice(self.knobs, seed), live)
        self._document, self.why_not = _document(spec.API)
        self._gate = Gate(self._cloud, self._document)

    @property
    def url(self) -> str:
        return f"{self._cloud.url}{BASE}"

    @property
    def control_url(self) -> str:
        return f"{self._cloud.url}/emulator"

    @property
    def validates(self) -> bool:
        """Whether bodies are held to the official document; `why_not` says what is missing."""
        return self._document is not None

    @property
    def violations(self) -> list[str]:
        return self._gate.violations

    @property
    def calls(self) -> deque[Call]:
        return self._gate.calls

    def bill(self) -> tuple[Line, ...]:
        return self._cloud.ledger.bill()

    def live(self) -> tuple[Living, ...]:
        return self._cloud.living()

    def log(self, group: str) -> str:
        """What the containers of a group have written."""
        path = self._folder / "logs" / f"{group}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def interrupt(self, group: str, why: str = "Node Offline") -> None:
        """Takes the machines under a group away, without a signal."""
        for instance in self._cloud.groups[group].instances:
            instance.order(Order(Move.MACHINE, f"Instance Interrupted ({why})"))

    async def __aenter__(self) -> Self:
        for part in ("instances", "logs"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._server = await LoopbackServer.start(self._app(), self._port)
        folder = self._cloud.config.folder
        self._undertaker = _undertaker(folder if self._own_folder else folder / "instances")
        self._cloud.url = f"http://{self._server.address}"
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._end()
        finally:
            await asyncio.to_thread(self._undertaker.communicate, undertaker.DONE)
            if self._own_folder:
                shutil.rmtree(self._folder, ignore_errors=True)
        if self._cloud.failures:
            raise ExceptionGroup("the emulator itself failed", self._cloud.failures)

    async def _end(self) -> None:
        self._cloud.end_all()
        await self._server.aclose()
        lives = set(self._cloud.tasks)
        _, late = await asyncio.wait(lives, timeout=10) if lives else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _app(self) -> Starlette:
        tables = {**containers.ROUTES, **queues.ROUTES, **account.ROUTES}
        metadata, _ = _document(spec.IMDS)
        return Starlette(
            routes=[
                Mount(BASE, routes=self._gate.routes(tables)),
                Mount("/emulator", routes=control.routes(self._gate)),
                Mount("/imds", routes=imds.routes(self._gate, metadata)),
            ],
            exception_handlers={HTTPException: _nowhere},
        )


def _undertaker(folder: Path) -> subprocess.Popen[bytes]:
    """Outlives us just long enough to end what we left, should we be killed."""
    argv = (sys.executable, "-S", "-E", undertaker.__file__, str(folder), *sys.path)
    return subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)


async def _nowhere(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return response(Problem(status if status == 405 else 404, "There is nothing here.").reply())


def _document(name: str) -> tuple[spec.Document | None, str]:
    path = spec.find(name)
    if not path.is_file():
        return None, f"{name} is not here; {spec.VARIABLE} may say where it is"
    return spec.load(path), ""

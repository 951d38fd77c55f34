"""Serves the worker's HTTP app in a running loop until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from worker_image.agent import Machine
from worker_image.local import LocalJobs
from worker_image.web.app import make_app
from worker_image.web.hpc.routes import open_hpc

_CANNOT_LISTEN = 1
_GOODBYE_S = 5

_log = structlog.get_logger()


async def serve_http(machine: Machine, jobs: LocalJobs, port: int, stop: asyncio.Event) -> int:
    """Serves until `stop`, and then until the jobs have ended or are stopped."""
    settings = machine.settings
    try:
        listener = _listen(settings.host, port)
    except OSError as error:
        if (
            settings.port is None and settings.orchestrator_url
        ):  # Nobody asked for it, and the agent needs none.
            _log.info("port_taken", port=port)
            return 0
        hint = "set GPULEASE_WORKER_PORT to another port, or to -1 for none"
        _log.error("cannot_listen", host=settings.host, port=port, error=str(error), hint=hint)
        stop.set()
        return _CANNOT_LISTEN
    try:
        hpc = open_hpc(settings, machine.slots, machine.scratch / "hpc")
    except ValueError as error:
        listener.close()
        _log.error("cannot_serve_hpc", error=str(error))
        stop.set()
        return _CANNOT_LISTEN
    key = settings.worker_key.get_secret_value() if settings.worker_key else None
    server = _Server(
        uvicorn.Config(
            make_app(jobs, machine.executor.offers, key, machine, hpc),
            lifespan="off",
            log_level="warning",
            ws="none",
            timeout_graceful_shutdown=_GOODBYE_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stop.wait()
    if hpc is not None:
        await hpc.renders.aclose()
    await jobs.drain(settings.grace_s)
    server.should_exit = True
    await serving
    return 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = family == socket.AF_INET6 and host == "::"
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=dual)
    _log.info("listening", host=host, port=listener.getsockname()[1])
    return listener

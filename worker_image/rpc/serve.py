"""Serves the video services in a running loop until it is told to stop."""

import asyncio
from collections.abc import Callable

import grpc.aio
import structlog

from gpulease.contract.agent import EngineOffer
from gpulease.contract.video_generator_pb2_grpc import (
    add_GeneratorServicer_to_server,
    add_VideoGeneratorServicer_to_server,
)
from worker_image.local import LocalJobs
from worker_image.machine.gpu import Gpu
from worker_image.rpc.access import Door, credentials_of, why_not_open
from worker_image.rpc.asked import Terms
from worker_image.rpc.services import Generator, Submissions
from worker_image.rpc.videos import Videos
from worker_image.settings import Settings

CALLS_MAX = 256
REQUEST_BYTES_MAX = 256 * 1024
GOODBYE_S = 2.0
_CANNOT_LISTEN = 1
_OPTIONS = [
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.so_reuseport", 0),  # Else a second worker would share the port in silence.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

_log = structlog.get_logger()


async def serve_grpc(
    settings: Settings,
    jobs: LocalJobs,
    offers: tuple[EngineOffer, ...],
    gpu: Gpu | None,
    stop: asyncio.Event,
) -> int:
    """Serves until `stop`, and then until the jobs have ended or are stopped; no call is taken meanwhile."""
    try:
        server, _ = make_server(settings, jobs, offers, _util_of(gpu))
    except (ValueError, RuntimeError) as error:
        hint = "set GPULEASE_GRPC_PORT to another port, or to -1 for none"
        _log.error("cannot_listen", what="grpc", port=settings.grpc_port, error=str(error).strip(), hint=hint)
        stop.set()
        return _CANNOT_LISTEN
    await server.start()
    await stop.wait()
    leaving = asyncio.create_task(server.stop(settings.grace_s + GOODBYE_S))
    await jobs.drain(settings.grace_s)
    await leaving
    return 0


def make_server(
    settings: Settings, jobs: LocalJobs, offers: tuple[EngineOffer, ...], gpu_util: Callable[[], float]
) -> tuple[grpc.aio.Server, int]:
    """The server, bound and not started yet, and its port.

    Raises:
        ValueError: its settings would leave it open, or are half of something.
        RuntimeError: the port is taken.
    """
    if reason := why_not_open(settings):
        raise ValueError(reason)
    credentials = credentials_of(settings)
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    key = settings.worker_key.get_secret_value() if settings.worker_key else None
    door = Door(key, certified=settings.grpc_tls_ca is not None)
    videos = Videos(jobs, Terms(offers, settings.grpc_scratch_root))
    add_GeneratorServicer_to_server(Generator(videos, jobs, door, gpu_util), server)
    add_VideoGeneratorServicer_to_server(Submissions(videos, jobs, door), server)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"{host}:{settings.grpc_port}"
    port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
    _log.info("listening_grpc", host=settings.host, port=port, tls=credentials is not None)
    return server, port


def _util_of(gpu: Gpu | None) -> Callable[[], float]:
    """The GPU's load now, 0 to 1; 0 where nobody can tell."""

    def util() -> float:
        now = gpu.now() if gpu is not None else None
        return now.util or 0.0 if now is not None else 0.0

    return util

"""The client: typed, sync and async, over one core. `Client().submit(…)`, `watch`, `result`, `download`."""

from gpulease.client.aio import AsyncClient
from gpulease.client.errors import (
    ApiError,
    BadCredentials,
    ClientError,
    Conflict,
    Garbled,
    NotFound,
    Refused,
    ServerFault,
    Unreachable,
    Wait,
)
from gpulease.client.stream import JobProgress
from gpulease.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadCredentials",
    "Client",
    "ClientError",
    "Conflict",
    "Garbled",
    "JobProgress",
    "NotFound",
    "Refused",
    "ServerFault",
    "Unreachable",
    "Wait",
]

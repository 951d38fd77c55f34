"""The client: typed, sync and async, over one core. `Client().submit(…)`, `watch`, `result`, `download`."""

from gpulease.client.aio import AsyncClient
from gpulease.client.errors import (
    ApiError,
    BadCredentials,
    BrokenOff,
    ClientError,
    Conflict,
    Garbled,
    NotFound,
    OtherFile,
    Refused,
    ServerFault,
    Unreachable,
    Wait,
)
from gpulease.client.parts import Parting
from gpulease.client.stream import JobProgress
from gpulease.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadCredentials",
    "BrokenOff",
    "Client",
    "ClientError",
    "Conflict",
    "Garbled",
    "JobProgress",
    "NotFound",
    "OtherFile",
    "Parting",
    "Refused",
    "ServerFault",
    "Unreachable",
    "Wait",
]

"""`GET /hpc/status`, `POST /hpc/start` and `POST /hpc/stop`, as a render farm's HPCServer answers them.

Off unless a file of programs is set. Callers are this machine's own, those of the allowed networks, or bear the
worker's key; a browser's page is nobody's own.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker_image.settings import Settings
from worker_image.slots import Slots
from worker_image.web.access import Guard, Refusal
from worker_image.web.hpc.arguments import INVALID, LETTERS_MAX, Refused
from worker_image.web.hpc.engines import read_farm
from worker_image.web.hpc.renders import Renders

_BODY_BYTES_MAX = 4 * LETTERS_MAX


class _Body(BaseModel):
    """The case of its names does not matter."""

    model_config = ConfigDict(extra="ignore")

    taskid: int = Field(ge=0, lt=2**64)

    @model_validator(mode="before")
    @classmethod
    def _small(cls, said: Any) -> Any:
        return {str(name).lower(): value for name, value in said.items()} if isinstance(said, dict) else said


class _Start(_Body):
    engineid: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in without a key: this machine, and what lies in `networks`."""

    guard: Guard
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def admit(self, request: Request) -> None:
        """Raises: Refusal."""
        if "origin" in request.headers and "x-internal-api-key" not in request.headers:
            raise Refusal(403, "Not from web pages", "This is for programs, not for pages in a browser.")
        if not self._is_known(request.client.host if request.client else ""):
            self.guard.admit(request)

    def _is_known(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((inner or address) in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Hpc:
    """What `/hpc` needs: the door, and the renders."""

    door: Door
    renders: Renders


def open_hpc(settings: Settings, slots: Slots, folder: Path) -> Hpc | None:
    """None where it is off.

    Raises:
        ValueError: the file of programs, or the list of networks, has faults.
    """
    if settings.hpc_engines is None:
        return None
    key = settings.worker_key.get_secret_value() if settings.worker_key else None
    networks = tuple(ip_network(one, strict=False) for one in settings.hpc_allow)
    return Hpc(Door(Guard(key), networks), Renders(read_farm(settings.hpc_engines), slots, folder))


def hpc_router(hpc: Hpc) -> APIRouter:
    router = APIRouter(prefix="/hpc")

    @router.get("/status")
    async def status(request: Request) -> Response:
        hpc.door.admit(request)
        return JSONResponse(hpc.renders.status())

    @router.post("/start")
    async def start(request: Request) -> Response:
        hpc.door.admit(request)
        try:
            asked = _Start.model_validate_json(await _body(request))
            message = await hpc.renders.start(asked.engineid, asked.taskid, asked.arguments)
        except (ValidationError, Refused) as error:
            return _refused(error)
        return _said(True, message)

    @router.post("/stop")
    async def stop(request: Request) -> Response:
        hpc.door.admit(request)
        try:
            asked = _Body.model_validate_json(await _body(request))
        except (ValidationError, Refused) as error:
            return _refused(error)
        return _said(*await hpc.renders.stop(asked.taskid))

    return router


async def _body(request: Request) -> bytes:
    """Raises: Refused: it is larger than any that is meant."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise Refused(INVALID)
    return body


def _refused(error: Exception) -> Response:
    return _said(False, str(error) if isinstance(error, Refused) else INVALID, 400)


def _said(succeeded: bool, message: str, status: int = 200) -> Response:  # noqa: FBT001  It is a field of the answer.
    return JSONResponse({"IsSuccess": succeeded, "Message": message}, status)

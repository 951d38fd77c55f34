"""The routes of the emulated control API, the faults in front of them, and `/emulator/`, which is ours alone.

`GET /emulator/bill`, `GET /emulator/live`, `POST /emulator/knobs` (the knobs to turn) and `POST /emulator/kill`
(`{"workload", "how": "close"|"hang"}`) are for scripts in other processes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from comput3.cloud import TYPES, Asked, Comput3Emulator
from comput3.knobs import Route as Name
from comput3.node import bad_gateway

Answer = Callable[[Comput3Emulator, Any], Awaitable[Response]]
BASE = "/api/v0"
WRITES = ("launch", "stop")


def routes_of(cloud: Comput3Emulator) -> list[Route]:
    answers: dict[Name, tuple[str, str, Answer]] = {
        "status": ("GET", "/", _status),
        "types": ("GET", "/types", _types),
        "balance": ("GET", "/balance", _balance),
        "profile": ("GET", "/profile", _profile),
        "launch": ("POST", "/launch", _launch),
        "workloads": ("POST", "/workloads", _workloads),
        "stop": ("POST", "/stop", _stop),
    }
    api = [
        Route(BASE + path, _Call(cloud, name, answer).endpoint, methods=[method])
        for name, (method, path, answer) in answers.items()
    ]
    return [*api, *_own_routes(cloud)]


@dataclass
class _Call:
    """One route: the key, the faults that any call can meet, the log."""

    cloud: Comput3Emulator
    name: Name
    answer: Answer

    async def endpoint(self, request: Request) -> Response:
        cloud = self.cloud
        await asyncio.sleep(cloud.dice.between("latency", 0, cloud.knobs.latency_s_max))
        body = await _json(request)
        reply = self._in_front(request) or await self.answer(cloud, body)
        cloud.requests.append(Asked(request.method, request.url.path, body, reply.status_code))
        return reply

    def _in_front(self, request: Request) -> Response | None:
        cloud = self.cloud
        if self.name != "types" and request.headers.get("x-c3-api-key") != cloud.key:
            return _refused(401, "Invalid API key")
        cloud.launches += self.name == "launch"
        if cloud.dice.hits("rate_limited", self.name):
            cloud.rate_limits += 1
            waits = {} if cloud.rate_limits % 2 else {"Retry-After": str(cloud.knobs.retry_after_s)}
            return JSONResponse({"message": "Too many requests"}, 429, waits)
        if self.name not in WRITES and cloud.dice.hits("html_errors", self.name):
            return bad_gateway()
        return None


async def _status(_: Comput3Emulator, __: Any) -> Response:
    return JSONResponse({"status": "ok"})


async def _types(_: Comput3Emulator, __: Any) -> Response:
    return JSONResponse(TYPES)


async def _balance(cloud: Comput3Emulator, _: Any) -> Response:
    return JSONResponse({"balance": cloud.books.balance})


async def _profile(cloud: Comput3Emulator, _: Any) -> Response:
    return JSONResponse(
        {"addr": "0xemulated", "tags": [], "user_uuid": "00000000-0000-0000-0000-000000000000"}
    )


async def _launch(cloud: Comput3Emulator, body: Any) -> Response:
    if cloud.dice.hits("create_lost", "launch"):
        return bad_gateway()
    asked = body if isinstance(body, dict) else {}
    kind, expires = asked.get("type"), asked.get("expires")
    if refusal := _launch_refusal(cloud, kind, expires):
        return refusal
    workload = await cloud.launch(str(kind), int(expires or 0))
    if cloud.dice.hits("create_unknown", "launch"):
        return bad_gateway()
    return JSONResponse({"node": workload.node, "workload": workload.id, "workload_key": workload.key})


def _launch_refusal(cloud: Comput3Emulator, kind: Any, expires: Any) -> Response | None:
    now = cloud.now()
    if kind not in TYPES:
        return _refused(400, "Unknown workload type")
    if isinstance(expires, bool) or not isinstance(expires, int) or expires <= now:
        return _refused(400, "expires must be a unix timestamp in the future")
    if cloud.full():
        return _refused(cloud.knobs.capacity_status, f"No available nodes for {kind}")
    if not cloud.books.affords(expires - int(now)):
        return _refused(402, "Insufficient balance")
    return None


async def _workloads(cloud: Comput3Emulator, body: Any) -> Response:
    """Without `running`, ended ones too."""
    now = cloud.now()
    wanted = body.get("running") if isinstance(body, dict) else None
    shown = [one for one in cloud.books.workloads.values() if now >= one.shown_from]
    return JSONResponse([one.as_json(now) for one in shown if wanted in (None, one.shown(now))])


async def _stop(cloud: Comput3Emulator, body: Any) -> Response:
    asked = body.get("workload") if isinstance(body, dict) else None
    if not isinstance(asked, str):
        return _refused(400, "workload is required")
    if cloud.dice.hits("html_errors", "stop"):
        return bad_gateway()
    try:
        told = await cloud.stop(asked)
    except KeyError:
        return _refused(404, "Workload not found")
    if cloud.dice.hits("stop_unknown", "stop"):
        return bad_gateway()
    return JSONResponse(told)


def _own_routes(cloud: Comput3Emulator) -> list[Route]:
    async def bill(_: Request) -> Response:
        return JSONResponse([asdict(line) for line in cloud.bill()])

    async def live(_: Request) -> Response:
        return JSONResponse([asdict(line) for line in cloud.live()])

    async def turn(request: Request) -> Response:
        try:
            cloud.knobs.turn(await request.json())
        except ValueError as error:
            return _refused(400, str(error))
        return JSONResponse(asdict(cloud.knobs))

    async def kill(request: Request) -> Response:
        asked = await request.json()
        await cloud.kill_node(asked["workload"], asked.get("how", "close"))
        return JSONResponse({})

    return [
        Route("/emulator/bill", bill),
        Route("/emulator/live", live),
        Route("/emulator/knobs", turn, methods=["POST"]),
        Route("/emulator/kill", kill, methods=["POST"]),
    ]


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None

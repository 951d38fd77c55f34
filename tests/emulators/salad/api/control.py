"""Routes for scripts in other processes: the bill, what lives, the knobs, and what broke the document's rules."""

from dataclasses import asdict, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from salad.api.gate import Gate
from salad.knobs import SHARES, Knobs


def routes(gate: Gate) -> list[Route]:
    cloud = gate.cloud

    async def bill(request: Request) -> JSONResponse:
        lines = cloud.ledger.bill()
        return JSONResponse({"lines": [asdict(one) for one in lines], "usd": sum(one.usd for one in lines)})

    async def live(request: Request) -> JSONResponse:
        return JSONResponse({"items": [asdict(one) for one in cloud.living()]})

    async def knobs(request: Request) -> JSONResponse:
        if request.method == "POST":
            wrong = turn(cloud.knobs, await request.json())
            if wrong:
                return JSONResponse({"error": f"no such knobs or faults: {', '.join(wrong)}"}, 400)
        return JSONResponse(asdict(cloud.knobs))

    async def violations(request: Request) -> JSONResponse:
        return JSONResponse({"items": gate.violations})

    return [
        Route("/bill", bill),
        Route("/live", live),
        Route("/knobs", knobs, methods=["GET", "POST"]),
        Route("/violations", violations),
    ]


def turn(knobs: Knobs, change: dict[str, Any]) -> list[str]:
    """Sets the knobs named; returns the names that are none, and then nothing was set."""
    known = {one.name for one in fields(knobs)}
    wrong = [name for name in change if name not in known]
    wrong += [name for name in change.get("next", ()) if name not in SHARES]
    if not wrong:
        for name, value in change.items():
            setattr(knobs, name, value)
    return wrong

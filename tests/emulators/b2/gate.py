"""What stands before every call: slowness, limits, cut connections; and B2's way to say what went wrong."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from b2.faults import LIMITED, TRANSACTIONS_FULL, fault_of
from b2.knobs import B2Knobs, spend


class Gate:
    def __init__(self, knobs: B2Knobs, app: ASGIApp) -> None:
        self._knobs = knobs
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        knobs = self._knobs
        if knobs.slow_s:
            await asyncio.sleep(knobs.slow_s)
        if _is_upload(scope) and spend(knobs, "cut_uploads"):
            await _cut(receive)
            return
        fault = LIMITED if spend(knobs, "limited") else TRANSACTIONS_FULL if knobs.transactions_full else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        headers = {"Retry-After": str(knobs.retry_after_s)} if fault is LIMITED else {}
        await _read(receive)
        await JSONResponse(fault.as_json(), fault.status, headers)(scope, receive, send)


async def on_error(_: Request, error: Exception) -> Response:
    fault = fault_of(error)
    if fault is None:
        raise error
    return JSONResponse(fault.as_json(), fault.status)


def _is_upload(scope: Scope) -> bool:
    return "/b2_upload_" in scope["path"] or scope["method"] == "PUT"


async def _read(receive: Receive) -> None:
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()


async def _cut(receive: Receive) -> None:
    """Resets the connection after the first bytes of the body."""
    await receive()
    cycle = getattr(receive, "__self__")  # noqa: B009  uvicorn's, which has the transport.
    cycle.transport.abort()

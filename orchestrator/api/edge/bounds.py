"""A bound on bodies that are read whole. Files come as streams, and their routes count for themselves."""

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpulease.contract.problems import Problem
from orchestrator.api.problems import reply

BODY_BYTES_MAX = 16 * 1024**2
"""A thousand jobs of 16 KiB."""
_TOO_LARGE = "The body is too large"
_STREAMED = re.compile(r"/v1/uploads|/v1/assets(/[^/]+/versions)?|/files/.*|/renderapi/v1/enqueue", re.DOTALL)


class BodyBound:
    """As ASGI middleware: refuses what says that it is too large, and ends what turns out to be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
        elif _declared(scope) > BODY_BYTES_MAX:
            detail = f"At most {BODY_BYTES_MAX} bytes; send many jobs in several batches."
            refusal = reply(Problem(type="/problems/too-large", title=_TOO_LARGE, status=413, detail=detail))
            await refusal(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), send)


def _declared(scope: Scope) -> int:
    said = Headers(scope=scope).get("content-length", "0")
    return int(said) if said.isdecimal() else 0


def _counted(receive: Receive) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_BYTES_MAX:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return counting

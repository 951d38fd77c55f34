"""What browsers are told with every answer: to guess no types, frame nothing, run nothing but our own pages' scripts.

As pure ASGI, so that streams flow on as they come.
"""

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NO_FRAMES = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
OURS = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    f"media-src 'self' blob:; object-src 'none'; {_NO_FRAMES}"
)
"""For answers of ours, the dashboard's pages among them; a page may set its own."""
REFERENCE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com "
    f"https://cdn.redoc.ly; worker-src blob:; object-src 'none'; {_NO_FRAMES}"
)
"""FastAPI's pages of the API, whose scripts come from where it says."""
STORED = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""Somebody's files may be pages too; they must not act as ours."""
POLICIES = {"/docs": REFERENCE, "/redoc": REFERENCE, "/files/": STORED}
HSTS = "max-age=31536000"
CORS_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-C3-RENDER-KEY",
    "email",
    "token",
)
CORS_EXPOSED = ("Retry-After", "WWW-Authenticate", "Location", "Content-Disposition")


class SecurityHeaders:
    """Adds them, where the answer has not said otherwise. What is no stored file is kept by no cache: it may carry
    a secret or a signed URL.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = headers_for(scope["path"], scope.get("scheme", "http"))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)


def headers_for(path: str, scheme: str) -> dict[str, str]:
    policy = next((policy for begin, policy in POLICIES.items() if path.startswith(begin)), OURS)
    headers = {**ALWAYS, "Content-Security-Policy": policy}
    if policy is not STORED:
        headers["Cache-Control"] = "no-store"
    return {**headers, "Strict-Transport-Security": HSTS} if scheme == "https" else headers


def guard(app: Starlette, origins: tuple[str, ...]) -> None:
    """The last thing to do to an app: lets pages of those origins call it, and puts the headers around all of it,
    around the answer to what broke too.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
            max_age=600,
        )
    app.middleware_stack = SecurityHeaders(app.build_middleware_stack())

"""What the conformance suites talk to: `gpulease up` with users and keys, files to fetch, a receiver of webhooks.

Everything goes over real sockets. Engines run for real where this machine has them.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shlex
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

import httpx
import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from up import Up

from loopback_server import LoopbackServer

ADMIN_KEY = "conformance-admin-key-of-full-length"
AUTH_CODE = "join-us"
CURL_S_MAX = 60


@dataclass(frozen=True)
class Answer:
    """What curl got: the status, the headers by lower-case name, the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Person:
    """A user with a key, and a client that sends it as a Bearer token."""

    user_id: str
    email: str
    key: str
    http: httpx.Client

    @property
    def headers(self) -> dict[str, str]:
        return {"email": self.email, "token": self.key}


@dataclass
class Beside:
    """A server of files and a receiver of webhooks, on a loop and a thread of their own."""

    files: dict[str, Path] = field(default_factory=dict)
    hooks: list[dict] = field(default_factory=list)
    """Every webhook: `path`, `headers`, `body`."""
    url: str = ""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="beside", daemon=True)
        self._thread.start()
        app = Starlette(
            routes=[
                Route("/files/{name:path}", self._file),
                Route("/hook/{path:path}", self._hook, methods=["POST"]),
                Route("/hook", self._hook, methods=["POST"]),
            ]
        )
        self._server = self._do(LoopbackServer.start(app))
        self.url = f"http://{self._server.address}"
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._server.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _file(self, request: Request) -> Response:
        path = self.files.get(request.path_params["name"])
        return FileResponse(path) if path else Response(status_code=404)

    async def _hook(self, request: Request) -> Response:
        told = {
            "path": request.url.path,
            "headers": dict(request.headers),
            "raw": await request.body(),
            "body": await request.json(),
        }
        self.hooks.append(told)
        return Response(status_code=204)


class Server:
    """One for a session; suites share it, each with people of its own."""

    def __init__(self, folder: Path) -> None:
        self.beside = Beside()
        self.up = Up(
            folder,
            GPULEASE_ADMIN_KEY=ADMIN_KEY,
            GPULEASE_ALLOW_PRIVATE_HOSTS="127.0.0.1",
            GPULEASE_POLICY_IDLE_S="60",
            GPULEASE_LOCAL_WORKERS_MAX=str(max(2, os.cpu_count() or 1)),
            REGISTER_AUTH_CODE=AUTH_CODE,
        )
        self.url = f"http://127.0.0.1:{self.up.port}"
        self._clients: list[httpx.Client] = []
        self.admin = self.http(ADMIN_KEY)

    def __enter__(self) -> Self:
        self.beside.__enter__()
        self.up.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        self.up.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.up.stop()
        for left in self.up.leftovers():
            with contextlib.suppress(psutil.Error):
                left.kill()
        self.up.http.close()
        self.up.log.close()
        for client in self._clients:
            client.close()
        self.beside.__exit__()

    def http(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        self._clients.append(client)
        return client

    def person(self, role: str = "submitter", email: str | None = None, **user: object) -> Person:
        """A new user of that role, with a key."""
        email = email or f"{secrets.token_hex(4)}@example.com"
        asked = {"name": email.split("@")[0], "email": email, "role": role, **user}
        made = self.admin.post("/v1/users", json=asked)
        assert made.status_code == 201, made.text
        user_id = made.json()["id"]
        key = self.admin.post("/v1/keys", params={"user": user_id}, json={"name": "first", "role": role})
        assert key.status_code == 201, key.text
        secret = key.json()["key"]
        return Person(user_id, email, secret, self.http(secret))

    def file_url(self, path: Path) -> str:
        """Where workers may fetch a file of this machine."""
        name = f"{secrets.token_hex(4)}/{path.name}"
        self.beside.files[name] = path
        return f"{self.beside.url}/files/{quote(name)}"

    def hook_url(self, path: str) -> str:
        return f"{self.beside.url}/hook/{path}"

    def hooked(self, path: str) -> list[dict]:
        """The webhooks that came to `hook_url(path)`."""
        return [one for one in self.beside.hooks if one["path"] == f"/hook/{path}"]

    def until(self, ready, patience_s: float = 60.0):
        return self.up.until(ready, patience_s)

    def ended(self, job_id: str, patience_s: float = 90.0) -> dict:
        """The job, natively, once it has ended."""

        def look():
            job = self.admin.get(f"/v1/jobs/{job_id}").json()
            return job["finished_at"] and job

        return self.until(look, patience_s)

    def curl(self, text: str, person: Person | None, swap: Mapping[str, str] | None = None) -> Answer:
        """Runs a documented example through the real curl.

        Hosts of the documents become ours and `your_api_key_here` the person's key; `swap` replaces more.
        """
        for old, new in {**_hosts(text, self.url), **(swap or {})}.items():
            text = text.replace(old, new)
        text = text.replace("your_api_key_here", person.key if person else "")
        spoken = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        argv = shlex.split(spoken.replace("\\\n", " "))
        assert argv[0] == "curl", text
        options = ["-sS", "-i", "--max-time", str(CURL_S_MAX), "--noproxy", "*"]
        ran = subprocess.run(["curl", *options, *argv[1:]], capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode()
        return _answer(ran.stdout)


_DOCUMENTED = re.compile(r"https?://(?:your-render-api\.example\.com|localhost:\d+|api\.example\.com)")


def _hosts(text: str, url: str) -> dict[str, str]:
    return dict.fromkeys(_DOCUMENTED.findall(text), url)


def _answer(said: bytes) -> Answer:
    head, _, body = said.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in headers.items()}, body)

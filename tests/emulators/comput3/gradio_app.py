"""One Gradio 5 app on the wire: config, upload, call, the stream of an event, and files.

Calls of an app run one after the other. As in the real server: an event whose stream was read to its end beats on
for ever when it is asked again, one whose reader went away is forgotten (and, if it had not begun, never runs), and
an error carries no message.
"""

import asyncio
import contextlib
import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from comput3.gradio_files import API, GradioFiles
from comput3.gradio_parts import GradioError, Part

CHECK_S = 0.05

Function = Callable[[list[Any], Path], Awaitable[list[Any]]]
"""Takes the values and a folder of its own, gives the outputs: a `Path`, or a list of them, is a file."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """`others` are endpoints that the page lists beside, before the one that can be called."""

    api_name: str
    inputs: tuple[Part, ...]
    outputs: tuple[Part, ...]
    function: Function
    others: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        parts = (*self.inputs, *self.outputs)
        first = 3  # A page has other things on it, so a component's id is not its place.
        ids = list(range(first, first + len(parts)))
        names = [*self.others, self.api_name]
        return {
            "version": "5.50.0",
            "api_prefix": API,
            "mode": "blocks",
            "enable_queue": True,
            "show_error": False,
            "protocol": "sse_v3",
            "title": "Gradio",
            "components": [part.as_json(id_) for id_, part in zip(ids, parts, strict=True)],
            "dependencies": [
                {
                    "id": number,
                    "targets": [[1, "click"]],
                    "inputs": ids[: len(self.inputs)] if name == self.api_name else [],
                    "outputs": ids[len(self.inputs) :] if name == self.api_name else [],
                    "backend_fn": True,
                    "queue": True,
                    "api_name": name,
                    "show_api": True,
                }
                for number, name in enumerate(names)
            ],
        }


@dataclass(slots=True)
class Event:
    messages: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)
    begun: bool = False
    task: asyncio.Task[None] | None = None


class GradioApp:
    """`frozen` means that the machine hangs: nothing is said any more."""

    def __init__(self, base: str, blocks: Blocks, folder: Path, heartbeat_s: Callable[[], float]) -> None:
        self._base = base
        self._blocks = blocks
        self._folder = folder
        self._heartbeat_s = heartbeat_s
        self._files = GradioFiles(folder / "kept")
        self._events: dict[str, Event] = {}
        self._turn = asyncio.Lock()
        self._calls = 0
        self.frozen = False

    def routes(self) -> list[Route]:
        base, api = self._base, self._base + API
        return [
            Route(base + "/", self._page),
            Route(base + "/config", self._config),
            Route(api + "/upload", self._upload, methods=["POST"]),
            Route(api + "/call/{name}", self._call, methods=["POST"]),
            Route(api + "/call/{name}/{event_id}", self._stream),
            Route(api + "/file={path:path}", self._file),
        ]

    async def stop(self) -> None:
        """What runs is dropped, and nobody is told."""
        self.frozen = True
        tasks = [one.task for one in self._events.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _page(self, _: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Gradio</title>")

    async def _config(self, request: Request) -> Response:
        return JSONResponse({**self._blocks.config(), "root": _root(request)})

    async def _upload(self, request: Request) -> Response:
        if "multipart/form-data" not in request.headers.get("content-type", ""):
            return JSONResponse({"detail": "Invalid content type."}, 400)
        async with request.form() as form:
            given = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
            paths = [self._files.keep(Path(one.filename or "blob").name, await one.read()) for one in given]
        return JSONResponse(paths)

    async def _call(self, request: Request) -> Response:
        body = await _json(request)
        if not isinstance(body, dict) or not isinstance(body.get("data"), list):
            return JSONResponse({"detail": [{"type": "missing", "loc": ["body", "data"]}]}, 422)
        if request.path_params["name"] != self._blocks.api_name:
            return Response("Internal Server Error", 500, media_type="text/plain")
        event, event_id = Event(), uuid4().hex
        self._events[event_id] = event
        event.task = asyncio.create_task(self._run(event, body["data"], _root(request)))
        return JSONResponse({"event_id": event_id})

    async def _run(self, event: Event, data: list[Any], root: str) -> None:
        async with self._turn:
            event.begun = True
            self._calls += 1
            folder = self._folder / f"call-{self._calls}"
            folder.mkdir(parents=True)
            try:
                outputs = await self._blocks.function(self._read(data), folder)
                shown = [self._files.shown(one, root) for one in outputs]
            except Exception:  # noqa: BLE001  Whatever it is, Gradio says no more than this.
                event.messages.put_nowait(("error", None))
            else:
                event.messages.put_nowait(("complete", shown))

    def _read(self, data: list[Any]) -> list[Any]:
        """Too many values are ignored, too few are an error."""
        parts = self._blocks.inputs
        if len(data) < len(parts):
            raise GradioError("not enough values")
        return [part.read(one, self._files.known) for part, one in zip(parts, data, strict=False)]

    async def _stream(self, request: Request) -> Response:
        said = self._said(request, request.path_params["event_id"])
        return StreamingResponse(said, media_type="text/event-stream")

    async def _said(self, request: Request, event_id: str) -> AsyncIterator[str]:
        event = self._events.get(event_id)
        if event is None:
            yield _line("error", "404: Not Found")
            raise ConnectionAbortedError("an event that nobody knows")
        try:
            async for name, data in self._messages(event):
                if await request.is_disconnected():
                    self._forget(event_id, event)
                    return
                if name:
                    yield _line(name, data)
                if name in ("complete", "error"):
                    return
        except (asyncio.CancelledError, GeneratorExit):
            self._forget(event_id, event)
            raise

    async def _messages(self, event: Event) -> AsyncIterator[tuple[str, Any]]:
        """Every `CHECK_S` something, with an empty name where there is nothing to say."""
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + self._heartbeat_s()
        while True:
            with contextlib.suppress(asyncio.QueueEmpty):
                if not self.frozen:
                    yield event.messages.get_nowait()
            await asyncio.sleep(CHECK_S)
            due = loop.time() >= beat_at and not self.frozen
            beat_at = loop.time() + self._heartbeat_s() if due else beat_at
            yield ("heartbeat", None) if due else ("", None)

    def _forget(self, event_id: str, event: Event) -> None:
        self._events.pop(event_id, None)
        if not event.begun and event.task is not None:
            event.task.cancel()

    async def _file(self, request: Request) -> Response:
        path = request.path_params["path"]
        file = self._files.known.get(path)
        if file is None:
            return JSONResponse({"detail": f"File not allowed: {path}."}, 403)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        return FileResponse(file, media_type=kind, filename=file.name, content_disposition_type="inline")


def _root(request: Request) -> str:
    """Where the app believes that it is: the proxy in front cut its prefix off, so URLs made from this are wrong."""
    return f"http://{request.headers.get('host', 'localhost')}"


def _line(event: str, data: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None

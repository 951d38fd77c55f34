"""The routes of an emulated ComfyUI, each also below `/api`."""

import hashlib
import json
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from comfyui.comfy import Comfy

BAD_GATEWAY = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
GB = 1024**3

Answer = Callable[[Comfy, Request], Awaitable[Response]]


def routes_of(comfy: Comfy, base: str = "") -> list[BaseRoute]:
    """Below `base`, as behind a proxy that hands a path on to it."""
    answers: list[tuple[str, str, Answer]] = [
        ("GET", "/system_stats", _stats),
        ("GET", "/object_info", _all_nodes),
        ("GET", "/object_info/{name}", _one_node),
        ("POST", "/upload/image", _upload),
        ("GET", "/prompt", _left),
        ("POST", "/prompt", _prompt),
        ("GET", "/queue", _queue),
        ("POST", "/queue", _change_queue),
        ("GET", "/history", _history),
        ("GET", "/history/{id}", _one_of_history),
        ("POST", "/history", _change_history),
        ("POST", "/interrupt", _interrupt),
        ("POST", "/free", _free),
        ("GET", "/view", _view),
    ]

    async def socket(one: WebSocket) -> None:
        await comfy.serve(one)

    found: list[BaseRoute] = []
    for before in (base, f"{base}/api"):
        found += [
            Route(before + path, _guarded(comfy, answer), methods=[method])
            for method, path, answer in answers
        ]
        found.append(WebSocketRoute(f"{before}/ws", socket))
    return found


def _guarded(comfy: Comfy, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if comfy.knobs.forbidden:
            return Response("403: Forbidden", 403, media_type="text/plain")
        if comfy.knobs.bad_gateway:
            return HTMLResponse(BAD_GATEWAY, 502)
        return await answer(comfy, request)

    return endpoint


async def _stats(comfy: Comfy, _: Request) -> Response:
    gb = comfy.knobs.vram_gb
    cpu = gb is None
    memory = int((16 if gb is None else gb) * GB)
    device = {"name": "cpu" if cpu else "cuda:0 NVIDIA RTX A5000", "type": "cpu" if cpu else "cuda"}
    sizes = dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), memory)
    system = {
        "os": "posix",
        "ram_total": 16 * GB,
        "ram_free": 8 * GB,
        "comfyui_version": "0.3.20" if comfy.knobs.old else "0.3.64",
        "required_frontend_version": "1.27.10",
        "installed_templates_version": None,
        "required_templates_version": "0.1.95",
        "python_version": "3.11.7",
        "pytorch_version": "2.13.0",
        "embedded_python": False,
        "argv": ["main.py"],
    }
    return JSONResponse({"system": system, "devices": [{**device, "index": None if cpu else 0, **sizes}]})


async def _all_nodes(comfy: Comfy, _: Request) -> Response:
    return JSONResponse({name: one.info(name) for name, one in comfy.classes().items()})


async def _one_node(comfy: Comfy, request: Request) -> Response:
    name = request.path_params["name"]
    found = comfy.classes().get(name)
    return JSONResponse({name: found.info(name)} if found else {})


async def _upload(comfy: Comfy, request: Request) -> Response:
    """The same name with another content gets a number, unless it is to be written over."""
    async with request.form() as form:
        given = form.get("image")
        if given is None or isinstance(given, str) or not given.filename:
            return Response(status_code=400)
        content, kind = await given.read(), str(form.get("type") or "input")
        folder = comfy.folder / kind / str(form.get("subfolder") or "")
        path = _place(folder, Path(given.filename), content, over=form.get("overwrite") in ("true", "1"))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return JSONResponse({"name": path.name, "subfolder": str(form.get("subfolder") or ""), "type": kind})


def _place(folder: Path, name: Path, content: bytes, *, over: bool) -> Path:
    path, number = folder / name.name, 0
    while not over and path.exists() and _digest(path.read_bytes()) != _digest(content):
        number += 1
        path = folder / f"{name.stem} ({number}){name.suffix}"
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def _left(comfy: Comfy, _: Request) -> Response:
    return JSONResponse(comfy.queue_info())


async def _prompt(comfy: Comfy, request: Request) -> Response:
    body = await _json(request)
    if "prompt" not in body:
        words = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"}
        return JSONResponse({"error": {**words, "extra_info": {}}, "node_errors": {}}, 400)
    verdict, item = comfy.submit(body)
    if verdict.error is not None:
        return JSONResponse({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
    if comfy.knobs.loses_replies:
        comfy.knobs.loses_replies -= 1
        return HTMLResponse(BAD_GATEWAY, 502)
    return JSONResponse({"prompt_id": item.id, "number": item.number, "node_errors": verdict.node_errors})


async def _queue(comfy: Comfy, _: Request) -> Response:
    running = [comfy.running.wire()] if comfy.running else []
    return JSONResponse({"queue_running": running, "queue_pending": [one.wire() for one in comfy.pending]})


async def _change_queue(comfy: Comfy, request: Request) -> Response:
    body = await _json(request)
    if body.get("clear"):
        comfy.clear()
    if "delete" in body:
        comfy.delete(body["delete"])
    return Response()


async def _history(comfy: Comfy, _: Request) -> Response:
    return JSONResponse(comfy.history)


async def _one_of_history(comfy: Comfy, request: Request) -> Response:
    asked = request.path_params["id"]
    return JSONResponse({asked: comfy.history[asked]} if asked in comfy.history else {})


async def _change_history(comfy: Comfy, request: Request) -> Response:
    body = await _json(request)
    if body.get("clear"):
        comfy.history.clear()
    for one in body.get("delete", ()):
        comfy.history.pop(one, None)
    return Response()


async def _interrupt(comfy: Comfy, request: Request) -> Response:
    comfy.interrupt((await _json(request)).get("prompt_id"))
    return Response()


async def _free(comfy: Comfy, _: Request) -> Response:
    comfy.freed += 1
    return Response()


async def _view(comfy: Comfy, request: Request) -> Response:
    asked = request.query_params
    if ".." in asked["filename"] and not comfy.knobs.odd_names:
        return Response(status_code=400)
    folder = comfy.folder / asked.get("type", "output") / asked.get("subfolder", "")
    path = folder / Path(asked["filename"]).name
    if not path.is_file():
        return Response(status_code=404)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=kind, headers={"Content-Disposition": f'filename="{path.name}"'})


async def _json(request: Request) -> dict[str, Any]:
    try:
        said = json.loads(await request.body() or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

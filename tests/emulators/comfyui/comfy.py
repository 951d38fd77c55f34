"""ComfyUI as the emulator has it: its queue, its history, its sockets, and the one worker that runs prompts."""

import asyncio
import contextlib
import heapq
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from comfyui.catalogue import Made, NodeClass, catalogue
from comfyui.execution import Execution, Item
from comfyui.knobs import Knobs
from comfyui.running import Running
from comfyui.validation import Graph, Verdict, judge

Frame = dict[str, Any] | bytes


class Comfy:
    """`runs` are the prompts that were begun, `freed` counts `/free`."""

    def __init__(self, folder: Path, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.folder = folder
        self.pending: list[Item] = []
        self.running: Item | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self.runs: list[Item] = []
        self.freed = 0
        self.frames = 0
        self.interrupted = False
        self._numbers = 0
        self._cache: dict[str, Made] = {}
        self._sockets: dict[str, WebSocket] = {}
        self._deaf_until = 0.0
        self._said: asyncio.Queue[tuple[Frame, str | None]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        for kind in ("input", "output", "temp"):
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._publish()), asyncio.create_task(self._work())]

    async def stop(self, *, silent: bool = False) -> None:
        """As a killed process: of all that was in memory nothing is left. `silent`: its sockets stay open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not silent:
            await self._drop_sockets()
        self.pending, self.running, self.history, self._cache = [], None, {}, {}

    def classes(self) -> dict[str, NodeClass]:
        uploads = sorted(path.name for path in (self.folder / "input").iterdir())
        return catalogue(self.knobs, uploads)

    def submit(self, body: dict[str, Any]) -> tuple[Verdict, Item]:
        """Judges a graph and queues what would run of it."""
        number = float(body["number"]) if "number" in body else self._number(front=bool(body.get("front")))
        graph: Graph = body["prompt"]
        verdict = judge(graph, self.classes(), self.folder / "input")
        chosen = None if self.knobs.old else body.get("prompt_id")
        extra = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        item = Item(number, str(chosen or uuid4()), graph, extra, verdict.outputs)
        if verdict.error is None:
            heapq.heappush(self.pending, item)
            self._queue_changed()
            self._news.set()
        return verdict, item

    def delete(self, ids: list[str]) -> None:
        """Of those that wait."""
        self.pending = [item for item in self.pending if item.id not in ids]
        heapq.heapify(self.pending)
        self._queue_changed()

    def clear(self) -> None:
        self.pending = []
        self._queue_changed()

    def interrupt(self, prompt_id: str | None) -> None:
        if prompt_id and not self.knobs.old and (self.running is None or self.running.id != prompt_id):
            return
        self.interrupted = True

    def tell(self, kind: str, data: dict[str, Any], client_id: str | None) -> None:
        self._said.put_nowait(({"type": kind, "data": data}, client_id))

    def tell_bytes(self, frame: bytes, client_id: str | None) -> None:
        self._said.put_nowait((frame, client_id))

    async def serve(self, socket: WebSocket) -> None:
        """One socket to its end. The same client id on another one takes its place."""
        if asyncio.get_running_loop().time() < self._deaf_until or self.knobs.forbidden:
            await socket.close()
            return
        await socket.accept()
        sid = socket.query_params.get("clientId") or uuid4().hex
        self._sockets[sid] = socket
        try:
            await socket.send_json({"type": "status", "data": {"status": self.queue_info(), "sid": sid}})
            while True:
                await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            if self._sockets.get(sid) is socket:
                del self._sockets[sid]

    def queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.pending) + (self.running is not None)}}

    def _number(self, *, front: bool) -> int:
        self._numbers += 1
        return -(self._numbers - 1) if front else self._numbers - 1

    def _queue_changed(self) -> None:
        self.tell("status", {"status": self.queue_info()}, None)

    async def _work(self) -> None:
        while True:
            while not self.pending:
                self._news.clear()
                await self._news.wait()
            item = self.running = heapq.heappop(self.pending)
            self._queue_changed()
            self.runs.append(item)
            self.interrupted = False
            running = Running(self.knobs, self.folder, lambda: self.interrupted)
            entry = await Execution(item, self.classes(), running, self, self._cache).run()
            self.running = None
            if not self.knobs.loses_history:
                self.history[item.id] = entry
            self._queue_changed()
            self.tell("executing", {"node": None, "prompt_id": item.id}, item.client_id)

    async def _publish(self) -> None:
        while True:
            frame, client_id = await self._said.get()
            wanted = [client_id] if client_id is not None else list(self._sockets)
            for socket in [self._sockets[sid] for sid in wanted if sid in self._sockets]:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
                    if isinstance(frame, bytes):
                        await socket.send_bytes(frame)
                    else:
                        await socket.send_text(json.dumps(frame))
            await self._count()

    async def _count(self) -> None:
        self.frames += 1
        after = self.knobs.drops_after
        if after is not None and self.frames >= after:
            self.knobs.drops_after = None
            self._deaf_until = asyncio.get_running_loop().time() + self.knobs.deaf_s
            await self._drop_sockets()

    async def _drop_sockets(self) -> None:
        sockets, self._sockets = list(self._sockets.values()), {}
        for socket in sockets:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
                await socket.close()

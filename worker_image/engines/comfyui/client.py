"""One ComfyUI server: files up and down, prompts in, what waits and runs, how it ended, and taking back."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from worker_image.engines.comfyui.events import Events
from worker_image.engines.comfyui.http import CALL_S_MAX, Http, decoded, plain
from worker_image.engines.comfyui.replies import (
    Ending,
    Queue,
    Refusal,
    Stored,
    Ticket,
    ending_of,
    queue_of,
    refusal_of,
)
from worker_image.faults import HostFault

LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    vram_gb: float


class ComfyUI:
    """Whatever goes wrong on the way is a `HostFault`."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str] | None = None, *, call_s_max: float = CALL_S_MAX
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._http = Http(base_url, self._headers, call_s_max)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def device(self) -> Device:
        """The first one, which is where it runs things; memory of a CPU is none of a GPU."""
        said = await self._http.read("/system_stats")
        try:
            first = said["devices"][0]
            gpu_bytes = 0 if first["type"] == "cpu" else int(first["vram_total"])
            return Device(str(first["name"]), round(gpu_bytes / 1024**3, 1))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise HostFault("server_failed", f"/system_stats is not ComfyUI's: {error!r}") from error

    async def classes(self, *names: str) -> dict[str, Any]:
        """What it says of these node classes; those that it does not have are left out."""
        asked = (self._http.read(f"/object_info/{quote(name, safe='')}") for name in names)
        return {name: info for one in await asyncio.gather(*asked) for name, info in one.items()}

    def events(self, client_id: str) -> Events:
        scheme, _, rest = self._base_url.partition("://")
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={client_id}"
        return Events(url, self._headers)

    async def upload(self, path: Path, suffix: str) -> str:
        """Puts a file among the server's inputs and returns how a graph names it there.

        It is called by its content, so that the same file is there once; the server's own answer is what counts.
        """
        name = f"{await asyncio.to_thread(_digest, path)}{suffix}"
        with path.open("rb") as file:
            files = {"image": (name, file, "application/octet-stream")}
            form = {"type": "input"}
            async with self._http.stream("POST", "/upload/image", files=files, data=form) as reply:
                said = decoded(await self._http.body(reply))
        if not (isinstance(said.get("name"), str) and said["name"]):
            raise HostFault("server_failed", "ComfyUI did not say how it calls an uploaded file")
        return "/".join(part for part in (said.get("subfolder"), said["name"]) if part)

    async def submit(self, graph: Mapping[str, Any], ticket: Ticket) -> tuple[Ticket, Refusal | None]:
        """Queues it. The ticket that comes back is the one to follow, also where the server chooses ids itself.

        A reply that is lost on the way is looked up.
        """
        body = {"prompt": graph, "client_id": ticket.client_id, "prompt_id": ticket.prompt_id}
        try:
            accepted, said = await self._submitted(body)
        except HostFault:
            found = await self._found(ticket)
            if found is None:
                raise
            return found, None
        found = Ticket(str(said.get("prompt_id") or ticket.prompt_id), ticket.client_id)
        refusal = refusal_of(said)
        if not accepted and refusal is None:
            refusal = Refusal("", "ComfyUI refuses the graph and does not say why")
        return found, refusal

    async def _submitted(self, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        async with self._http.answer("POST", "/prompt", json=body) as reply:
            content = await self._http.body(reply)
        if reply.status_code not in (httpx.codes.OK, httpx.codes.BAD_REQUEST):
            why = plain(content.decode(errors="replace"))
            code = "server_refused" if reply.is_client_error else "server_failed"
            raise HostFault(code, f"POST /prompt answered {reply.status_code}: {why}")
        return reply.status_code == httpx.codes.OK, decoded(content)

    async def queue(self) -> Queue:
        return queue_of(await self._http.read("/queue"))

    async def ending(self, ticket: Ticket) -> Ending | None:
        """None for a prompt that has not ended, and for one that it does not know (any more)."""
        said = await self._http.read(f"/history/{quote(ticket.prompt_id, safe='')}")
        entry = said.get(ticket.prompt_id)
        return ending_of(entry) if isinstance(entry, dict) else None

    async def cancel(self, ticket: Ticket, wait_s: float) -> bool:
        """Takes a prompt back, be it waiting or running, and says whether it is gone within that time.

        Servers before 2025-09 interrupt whatever runs, whoever asks: so it is done only while ours is what runs.
        """
        await self._http.write("/queue", {"delete": [ticket.prompt_id]})
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        interrupted = False
        while (queue := await self.queue()).has(ticket):
            if waiting := queue.waiting(ticket):
                await self._http.write("/queue", {"delete": waiting})
            elif not interrupted:
                await self._http.write("/interrupt", {"prompt_id": queue.active(ticket)[0]})
                interrupted = True
            if loop.time() > end:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def free(self) -> None:
        """Lets the models go. The server does so before its next prompt, or when it has none."""
        await self._http.write("/free", {"unload_models": True, "free_memory": True})

    async def fetch(self, stored: Stored, target: Path, bytes_max: int) -> int:
        """Streams one of its files into `target` and returns its size, which is never 0."""
        asked = {"filename": stored.filename, "subfolder": stored.subfolder, "type": stored.kind}
        size_bytes = 0
        async with self._http.stream("GET", "/view", params=asked) as reply:
            with target.open("wb") as sink:
                async for chunk in reply.aiter_bytes():
                    size_bytes += len(chunk)
                    if size_bytes > bytes_max:
                        raise HostFault("output_too_big", f"{stored.filename!r} is too big for this worker")
                    sink.write(chunk)
        if not size_bytes:
            raise HostFault("output_missing", f"ComfyUI's file {stored.filename!r} is empty")
        return size_bytes

    async def _found(self, ticket: Ticket) -> Ticket | None:
        """The prompt, if it is there. One under an id of the server's own is not looked for in the history."""
        queue = await self.queue()
        here = next(iter([*queue.active(ticket), *queue.waiting(ticket)]), None)
        if here is not None:
            return Ticket(here, ticket.client_id)
        return ticket if await self.ending(ticket) is not None else None


def new_ticket() -> Ticket:
    return Ticket(str(uuid4()), uuid4().hex)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]

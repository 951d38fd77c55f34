"""The Comput3 v0 API as a real HTTP server on loopback, whose nodes really speak and listen.

async with Comput3Emulator(seed=7) as cloud:
    ...  # cloud.url, cloud.key, cloud.knobs, cloud.live(), cloud.bill()
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from starlette.applications import Starlette

from comfyui.comfy import Comfy
from comput3.books import BillLine, Books, Workload
from comput3.knobs import Dice, Knobs
from comput3.models import LocalModels
from comput3.node import Death, Node
from comput3.work import Work
from loopback_server import LoopbackServer

TYPES = ("media:fast", "ollama_webui:coder", "ollama_webui:fast", "ollama_webui:large")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the control API as it came in, and how it was answered. It holds no key."""

    method: str
    path: str
    body: Any
    status: int


class Comput3Emulator:
    """`requests` is every call in order; `launches` counts the `/launch` calls among them that had a valid key."""

    def __init__(
        self,
        *,
        key: str = "c3_api_test",
        seed: int = 0,
        usd_per_hour: float = 1.0,
        balance: int = 1_000_000,
        knobs: Knobs | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.key = key
        self.knobs = knobs or Knobs()
        self.dice = Dice(seed, self.knobs)
        self.books = Books(usd_per_hour, balance)
        self.requests: list[Asked] = []
        self.launches = 0
        self.rate_limits = 0
        self.now = clock
        self._starting = 0
        self._nodes: dict[str, Node] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        from comput3.routes import routes_of  # noqa: PLC0415  It knows this class.

        self._folder = Path(tempfile.mkdtemp(prefix="comput3-"))
        self._models = LocalModels(self._folder / "models")
        self._server = await LoopbackServer.start(Starlette(routes=routes_of(self)))
        self.origin = f"http://{self._server.address}"
        self.url = f"{self.origin}/api/v0"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()
        for life in self._lives.values():
            life.cancel()
        await asyncio.gather(*self._lives.values(), return_exceptions=True)
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))
        await self._models.aclose()
        shutil.rmtree(self._folder, ignore_errors=True)

    def bill(self) -> list[BillLine]:
        return self.books.bill(self.now())

    def live(self) -> list[BillLine]:
        """What is billed now."""
        return [line for line in self.bill() if line.ended is None]

    def full(self) -> bool:
        capacity = self.knobs.capacity
        return self.dice.forced("capacity", "launch") or (
            capacity is not None and len(self.live()) + self._starting >= capacity
        )

    async def launch(self, kind: str, expires: int) -> Workload:
        id_ = str(uuid4())
        self._starting += 1
        try:
            node = await self.start_node(id_)
        finally:
            self._starting -= 1
        now = self.now()
        shown_from = now + self.knobs.list_lag_s
        workload = Workload(id_, f"wk_{id_[:8]}", kind, node.address, int(now), expires, shown_from)
        self.books.open(workload)
        self._nodes[id_] = node
        self._lives[id_] = asyncio.create_task(self._until_expired(workload, node))
        return workload

    async def start_node(self, workload_id: str) -> Node:
        """What a workload runs on; it boots in `life`. Clouds with other machines make theirs."""
        work = Work(self.knobs, self.dice)
        return await Node.start(self.key, self._models, work, self._folder / "nodes" / workload_id)

    async def stop(self, workload_id: str) -> dict[str, int]:
        """Raises `KeyError` for what is not there, or is not shown any more."""
        workload = self.books.workloads[workload_id]
        now = self.now()
        if workload.ended(now) is not None and not workload.shown(now):
            raise KeyError(workload_id)
        refund = self.books.stop(workload_id, now, now + self.knobs.stop_lag_s)
        self._lives[workload_id].cancel()
        await self._nodes[workload_id].die("close")
        return {"stopped": workload.stopped or int(now), "refund_amount": refund}

    async def kill_node(self, workload_id: str, how: Death = "close") -> None:
        """Its node dies; the workload stays listed and billed."""
        await self._nodes[workload_id].die(how)

    def comfy(self, workload_id: str) -> Comfy:
        """The ComfyUI of a workload's node."""
        return self._nodes[workload_id].comfy

    async def _until_expired(self, workload: Workload, node: Node) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, workload.expires - self.now())):
                await self.life(workload, node)
        await node.die("close")

    async def life(self, workload: Workload, node: Node) -> None:
        """A node from its boot on. When this returns it is dead, and its workload goes on all the same."""
        doomed = self.dice.hits("node_death")
        dies_after_s = self.dice.between("die_after_s", *self.knobs.die_after_s)
        how: Death = "close" if self.dice.between("death", 0, 1) < 0.5 else "hang"
        await asyncio.sleep(self.knobs.boot_s)
        node.booted = True
        if doomed:
            await asyncio.sleep(dies_after_s)
            await node.die(how)
        await asyncio.Event().wait()

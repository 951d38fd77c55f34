"""The emulated Comput3, whose machines come up and fail as the simulator's do: launch by launch, by the same draws."""

import asyncio
import contextlib
from collections.abc import Callable

from comput3.books import BillLine, Workload
from comput3.cloud import Comput3Emulator
from scaling.simulate.draws import Draw, LaunchDraws
from scaling.simulate.scenario import Terms

Note = Callable[..., None]
"""Takes what happens, and as `node` to which launch, counted from 0."""
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Box:
    """A rented machine: a front page for health checks, and whoever serves as its agent, from its boot to its end."""

    def __init__(self, number: int, draw: Draw, listener: asyncio.Server) -> None:
        self.number = number
        self.draw = draw
        self.booted = asyncio.Event()
        self.agent: asyncio.Task[None] | None = None
        self.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        self._listener = listener

    async def die(self, how: str) -> None:  # noqa: ARG002  Whoever asks hears that nobody is there.
        """As a power cut: what runs there is lost. An agent that is ending closes its connections undisturbed."""
        self._listener.close()
        if self.agent is not None and not self.agent.cancelling():
            self.agent.cancel()

    async def aclose(self) -> None:
        await self.die("close")
        if self.agent is not None:
            await asyncio.gather(self.agent, return_exceptions=True)


class DrawnCloud(Comput3Emulator):
    """Until `begin` machines take the median to boot, and do not fail."""

    def __init__(self, terms: Terms) -> None:
        super().__init__(usd_per_hour=terms.usd_per_hour, balance=10**9)
        self.terms = terms
        self.boxes: dict[str, Box] = {}
        self.peak = 0
        self.failed = 0
        self._draws: LaunchDraws | None = None
        self._before = 0
        self._note: Note = _nobody

    def begin(self, seed: int, note: Note) -> None:
        """From here on launches count, are drawn, and are noted."""
        self._note = note
        self._draws = LaunchDraws(seed)
        self._before = len(self.books.workloads)
        self.peak = self.failed = 0

    def lines(self) -> list[BillLine]:
        """The bill since `begin`."""
        return self.bill()[self._before :]

    async def start_node(self, workload_id: str) -> Box:  # noqa: ARG002  It has no files of its own.
        number = len(self.books.workloads) - self._before
        self.peak = max(self.peak, len(self.live()) + 1)
        draw = self._draws.next(self.terms) if self._draws else Draw(self.terms.boot.median_s, False, 1e9)
        box = Box(number, draw, await asyncio.start_server(_front_page, "127.0.0.1", 0))
        self.boxes[f"http://{box.address}"] = box
        self._note("launch", node=number)
        return box

    async def stop(self, workload_id: str) -> dict[str, int]:
        told = await super().stop(workload_id)
        self._note("terminate", node=list(self.books.workloads).index(workload_id) - self._before)
        return told

    async def life(self, workload: Workload, node: Box) -> None:
        await asyncio.sleep(node.draw.latency_s)
        if not node.draw.fails:
            node.booted.set()
            self._note("ready", node=node.number)
            await asyncio.sleep(min(node.draw.life_s, 1e9))
        self.failed += node.draw.fails
        now = self.now()
        self.books.stop(workload.id, now, now)
        self._note("fail", node=node.number)


def _nobody(what: str, *, node: int) -> None:
    """Before the begin nothing counts."""


async def _front_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        await writer.drain()
    writer.close()

"""One graph on one server, from its submission to its confirmed end.

Events show the progress; that it ended, and how, is what `/history` says. A prompt that is neither queued, nor running,
nor in the history is lost: the server was started anew, or somebody cleared it.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_image.engines.base import Report
from worker_image.engines.comfyui.client import ComfyUI, new_ticket
from worker_image.engines.comfyui.events import Events
from worker_image.engines.comfyui.faults import failed, refused, runs_out_of_memory
from worker_image.engines.comfyui.progress import Progress
from worker_image.engines.comfyui.replies import Ending, Ticket
from worker_image.faults import Faulted, HostFault


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `look_s` is between two looks while events come, `look_deaf_s` while they do not, `look_over_s` when
    they say that it is over; `silence_s_max` is how long the server may not answer; `cancel_s_max` how long what is
    taken back may go on.
    """

    connect_s_max: float = 5.0
    look_s: float = 3.0
    look_deaf_s: float = 1.0
    look_over_s: float = 0.2
    silence_s_max: float = 30.0
    cancel_s_max: float = 1.0


PATIENCE = Patience()
_EVENT_S = 0.3


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in API format, and which of them take longer. `ours`: we built it, so that its faults are the server's."""

    nodes: Mapping[str, Any]
    ours: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)

    def classes(self) -> dict[str, str]:
        return {node: str(one["class_type"]) for node, one in self.nodes.items()}


async def run_graph(server: ComfyUI, graph: Graph, report: Report, patience: Patience = PATIENCE) -> Ending:
    """Runs it to its successful end. Whoever cancels this, or whatever fails, takes it off the server again.

    Raises:
        Faulted: refused, failed, interrupted by somebody, or lost.
    """
    ticket = new_ticket()
    async with server.events(ticket.client_id) as events:
        await events.until_connected(patience.connect_s_max)
        try:
            ticket = await _submitted(server, graph, ticket)
            progress = Progress(ticket.prompt_id, graph.classes(), graph.weights)
            ending = await _Following(server, ticket, patience).until_ended(events, progress, report)
        except BaseException:
            await _take_back(server, ticket, patience.cancel_s_max)
            raise
    if not ending.success:
        raise await _fault_of(server, ending, graph)
    return ending


async def _submitted(server: ComfyUI, graph: Graph, ticket: Ticket) -> Ticket:
    """A graph of which a part is refused is refused: the rest of it, which runs, is none of what was wanted."""
    ticket, refusal = await server.submit(graph.nodes, ticket)
    if refusal is not None:
        await _take_back(server, ticket, 0.0)
        raise refused(refusal, ours=graph.ours)
    return ticket


class _Following:
    """Looks after one prompt. `silent_since` is when the server was first found not to answer."""

    def __init__(self, server: ComfyUI, ticket: Ticket, patience: Patience) -> None:
        self._server = server
        self._ticket = ticket
        self._patience = patience
        self._silent_since: float | None = None
        self._waits: str | None = None

    async def until_ended(self, events: Events, progress: Progress, report: Report) -> Ending:
        started, look_at = time.monotonic(), 0.0
        while True:
            event = await events.next(_EVENT_S)
            if event is not None:
                progress.note(event)
            now = time.monotonic()
            if now >= look_at or (progress.over and look_at - now > self._patience.look_over_s):
                if (ending := await self._look()) is not None:
                    return ending
                look_at = time.monotonic() + self._until_next(events, progress)
            told = progress.message or self._waits
            if not events.connected:
                told = f"{told or 'running'}, {time.monotonic() - started:.0f} s"
            report(progress.share, told, step=progress.step, total_steps=progress.total_steps)

    def _until_next(self, events: Events, progress: Progress) -> float:
        if progress.over:
            return self._patience.look_over_s
        heard = events.connected and self._silent_since is None
        return self._patience.look_s if heard else self._patience.look_deaf_s

    async def _look(self) -> Ending | None:
        """None while it waits or runs, and while the server does not answer, for as long as that is borne."""
        try:
            ending = await self._ending()
        except HostFault as fault:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            patient = now - self._silent_since < self._patience.silence_s_max
            if fault.code in ("machine_silent", "machine_unreachable", "server_failed") and patient:
                return None
            raise
        self._silent_since = None
        return ending

    async def _ending(self) -> Ending | None:
        """The history is asked again after the queue: between the two it may have ended."""
        if (ending := await self._server.ending(self._ticket)) is not None:
            return ending
        queue = await self._server.queue()
        ahead = queue.ahead(self._ticket)
        self._waits = f"waiting, {ahead} before it" if ahead is not None else None
        if queue.has(self._ticket):
            return None
        if (ending := await self._server.ending(self._ticket)) is not None:
            return ending
        raise HostFault(
            "job_lost",
            "ComfyUI knows nothing of the prompt any more: it was restarted, or its history cleared",
        )


async def _take_back(server: ComfyUI, ticket: Ticket, wait_s: float) -> None:
    """What is not to be reached now cannot be stopped; it is no use to say so beside the reason."""
    with contextlib.suppress(HostFault, TimeoutError):
        async with asyncio.timeout(wait_s + _EVENT_S):
            await server.cancel(ticket, wait_s)


async def _fault_of(server: ComfyUI, ending: Ending, graph: Graph) -> Faulted:
    if ending.failure is None:
        return HostFault("interrupted", "somebody interrupted the prompt on this ComfyUI")
    if runs_out_of_memory(ending.failure):
        with contextlib.suppress(HostFault):
            await server.free()
    return failed(ending.failure, ours=graph.ours)

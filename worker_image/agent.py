"""The agent: asks one orchestrator for work over outbound HTTP, and does what it is told.

Heartbeats come from a thread of their own, engines run in processes of their own; here are the claims, one task for
each attempt, and what the orchestrator's answers change.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from typing import Literal
from uuid import uuid4

import structlog

from gpulease.contract import agent as wire
from gpulease.contract.jobs import Fault
from worker_image.link import Link, LinkError, Refused, Rejected, Stale, Unreachable
from worker_image.serving.beats import Beats, BeatThread, News
from worker_image.serving.claims import Claims
from worker_image.serving.enrolment import Enrolment, LetGo
from worker_image.serving.gate import LEAVING, ORCHESTRATOR, OWNER, UNFIT, UNREGISTERED, Gate
from worker_image.serving.held import Held
from worker_image.serving.machine import Machine

FIRST_CONTACT_S_MAX = 120.0
GOODBYE_S_MAX = 2.0
RETRY_S = 1.0
HINT_AFTER_S = 1.0
"""A job that lasts so long leaves time to fetch the next one's inputs; a heartbeat asks for their names."""
STOPPED = Fault(kind="host", code="worker_stopped", message="The worker was stopped before the job was done.")
ORPHANED = Fault(kind="host", code="worker_orphaned", message="The worker lost touch with the orchestrator.")

__all__ = ["Agent", "Exit", "Machine"]

_log = structlog.get_logger()


class Exit(IntEnum):
    """Why the agent ended, as the exit code of its process."""

    STOPPED = 0
    REFUSED = 2
    ORPHANED = 3
    UNREACHABLE = 4
    UNFIT = 5


class Agent:
    """`gate` may be shared with whoever else can close it, as the machine's owner; `thread` with other agents.

    `first_contact_s_max` is how patient it is with an orchestrator that does not answer at first; 0 is one quiet
    try. `on_busy` is told when the first attempt begins, and when the last one ends.
    """

    def __init__(
        self,
        machine: Machine,
        link: Link,
        incarnation: str | None = None,
        gate: Gate | None = None,
        thread: BeatThread | None = None,
    ) -> None:
        self._machine = machine
        self._link = link
        self._incarnation = incarnation or uuid4().hex
        self._enrolment = Enrolment(machine, link, self._incarnation)
        self._gate = gate or Gate()
        self._thread = thread
        self._held = Held(machine.slots, self._on_held)
        self._was_busy = False
        self._wanted = asyncio.Event()
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._beats: Beats | None = None
        self._claims = Claims(link, machine.slots, self._gate, self._incarnation, machine.executor.resident)
        self._lost_at: float | None = None
        self.first_contact_s_max = FIRST_CONTACT_S_MAX
        self.on_busy: Callable[[bool], None] = lambda _: None

    async def run(self) -> Exit:
        """Serves until it is told to stop, by the orchestrator or by `stop`, or has been alone for too long."""
        try:
            if not await self._enrolment.first(self.first_contact_s_max, self._wanted):
                return Exit.STOPPED
            return await self._serve()
        except (Refused, Rejected) as error:
            self._say("refused", error=str(error))
            return Exit.REFUSED
        except (LetGo, Stale) as error:
            self._say("let_go", reason=str(error))
            return Exit.STOPPED
        except LinkError as error:
            self._say("no_orchestrator", error=str(error))
            return Exit.UNREACHABLE
        finally:
            await self._held.end(0.0, STOPPED)
            await self._enrolment.aclose()
            self._machine.prefetched.drop()
            if self.served:
                _log.info("stopped", jobs=self._held.done)

    @property
    def served(self) -> bool:
        """Whether the orchestrator has taken it on."""
        return self._enrolment.at > 0

    def _say(self, event: str, **why: str) -> None:
        """Why it ends, unless it was a quiet try that failed."""
        if self.served or self.first_contact_s_max:
            _log.warning(event, **why)

    def stop(self) -> None:
        """No more claims; running attempts get the grace of the settings, then end as the host's fault."""
        self._wanted.set()

    async def _serve(self) -> Exit:
        async with self._beating() as beats:
            listens = asyncio.create_task(self._listen_forever(beats))
            claims = asyncio.create_task(self._claim_forever())
            stop = asyncio.create_task(self._wanted.wait())
            try:
                await asyncio.wait({listens, claims, stop}, return_when=asyncio.FIRST_COMPLETED)
                claims.cancel()
                if stop.done():
                    return await self._leave(beats)
                return listens.result() if listens.done() else claims.result()
            finally:
                for task in (listens, claims, stop):
                    task.cancel()
                await asyncio.gather(listens, claims, stop, return_exceptions=True)

    async def _leave(self, beats: Beats) -> Exit:
        """Says so at once, so that nobody counts on us; hands back what is not done within the grace."""
        self._gate.hold(LEAVING)
        await self._held.end(self._machine.settings.grace_s, STOPPED)
        with contextlib.suppress(LinkError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S_MAX):
                await beats.last(self._beat())
        return Exit.STOPPED

    # Heartbeats

    @contextlib.asynccontextmanager
    async def _beating(self) -> AsyncIterator[Beats]:
        """Heartbeats, and with them claims, from here on."""
        thread = self._thread or BeatThread()
        self._beats = beats = Beats(thread, self._link.twin(), self._news.put_nowait)
        self._gate.on_change = lambda: self._publish(now=True)
        self._publish()
        beats.start()
        self._gate.hold(UNREGISTERED, held=False)
        try:
            yield beats
        finally:
            self._gate.on_change = lambda: None
            self._gate.hold(UNREGISTERED)
            self._beats = None
            try:
                await beats.aclose()
            finally:
                if self._thread is None:
                    thread.close()

    def _on_held(self) -> None:
        self._publish()
        asyncio.get_running_loop().call_later(HINT_AFTER_S, self._ask_for_hint, self._held.ids)
        if self._was_busy != bool(self._held.ids):
            self._was_busy = not self._was_busy
            self.on_busy(self._was_busy)

    def _ask_for_hint(self, held: tuple[int, ...]) -> None:
        if held and held == self._held.ids:
            self._publish(now=True)

    def _publish(self, *, now: bool = False) -> None:
        if self._beats is not None:
            self._beats.period_s = self._enrolment.rules.heartbeat_s
            self._beats.stuck_s_max = self._enrolment.rules.orphan_after_s
            self._beats.say(self._beat(), now=now)

    def _beat(self) -> wire.HeartbeatRequest:
        machine = self._machine
        return wire.HeartbeatRequest(
            status=self._status(),
            gpu_class=machine.gpu_class,
            capacity=machine.settings.capacity,
            error=machine.health.error,
            incarnation=self._incarnation,
            resident=machine.executor.resident(),
            free_vram_gb=machine.free_vram_gb(),
            attempts=self._held.ids,
        )

    def _status(self) -> Literal["idle", "busy", "paused", "leaving"]:
        """`paused` is the owner's wish, or an unfit machine; what the orchestrator told us it knows itself."""
        if self._gate.held_by(LEAVING):
            return "leaving"
        if self._gate.held_by(OWNER) or self._gate.held_by(UNFIT):
            return "paused"
        return "busy" if self._held.ids else "idle"

    async def _listen_forever(self, beats: Beats) -> Exit:
        while True:
            news = await self._news.get()
            await self._take_news(news)
            silent_s = time.monotonic() - max(self._link.heard_at, beats.heard_at)
            if silent_s > self._enrolment.rules.orphan_after_s:
                _log.error("orphaned", silent_s=round(silent_s, 1))
                await self._held.end(0.0, ORPHANED)
                return Exit.ORPHANED
            self._publish()

    async def _take_news(self, news: News) -> None:
        self._machine.tally.heartbeats["ok" if news.reply is not None else "failed"] += 1
        if news.reply is not None:
            self._note_back()
            self._obey(news.reply)
        elif isinstance(news.error, Unreachable):
            self._note_lost(news)
        elif isinstance(news.error, Stale):
            if news.asked_at > self._enrolment.at:
                await self._enrolment.again()
        elif news.error is not None:
            raise news.error

    def _obey(self, told: wire.HeartbeatReply) -> None:
        for attempt_id in told.cancel:
            self._held.take_back(attempt_id)
        if told.stop:
            raise LetGo("told to stop")
        held = told.drain or told.pause
        if held != self._gate.held_by(ORCHESTRATOR):
            _log.info("told_to_drain" if told.drain else "told_to_pause" if told.pause else "told_to_resume")
            self._gate.hold(ORCHESTRATOR, held=held)
        if told.prefetch is not None:
            self._machine.prefetched.hint(told.prefetch, self._enrolment.tools().fetcher)

    def _note_lost(self, news: News) -> None:
        if self._lost_at is None:
            self._lost_at = news.asked_at
            _log.warning("connection_lost", error=str(news.error))

    def _note_back(self) -> None:
        if self._lost_at is not None:
            _log.info("connection_back", after_s=round(time.monotonic() - self._lost_at, 1))
            self._lost_at = None

    # Claims

    async def _claim_forever(self) -> Exit:
        while True:
            self._claims.wait_s = self._enrolment.rules.claim_wait_s
            try:
                reply = await self._claims.next()
            except Stale:
                await self._enrolment.again()
                await asyncio.sleep(RETRY_S)
            except Unreachable as error:
                _log.debug("claim_failed", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                if reply is not None:
                    await self._take_claim(reply)

    async def _take_claim(self, reply: wire.ClaimReply) -> None:
        if reply.assignment is not None:
            await self._held.begin(reply.assignment, self._enrolment.tools())
        elif reply.stop:
            raise LetGo("told to stop")
        elif reply.drain:
            self._gate.hold(ORCHESTRATOR)

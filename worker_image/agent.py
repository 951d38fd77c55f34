"""The agent: asks one orchestrator for work over outbound HTTP, and does what it is told.

Three tasks beside each other: heartbeats, claims, and one task for each attempt. Engines run in processes of their
own, so a heartbeat never waits for a model.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from uuid import uuid4

import structlog

from gpulease.contract import agent as wire
from gpulease.contract.jobs import Fault
from worker_image.attempt import Attempt, Tools
from worker_image.execute import Runs
from worker_image.link import Link, LinkError, Refused, Stale, Unreachable, patiently
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.settings import Settings
from worker_image.slots import Slots

FIRST_CONTACT_S_MAX = 120.0
RETRY_S = 1.0
VERSION = "1"
STOPPED = Fault(kind="host", code="worker_stopped", message="The worker was stopped before the job was done.")
ORPHANED = Fault(kind="host", code="worker_orphaned", message="The worker lost touch with the orchestrator.")

_log = structlog.get_logger()


class Exit(IntEnum):
    """Why the agent ended, as the exit code of its process."""

    STOPPED = 0
    REFUSED = 2
    ORPHANED = 3
    UNREACHABLE = 4


class LetGo(Exception):
    """The orchestrator has no more use for this worker."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this worker is made of; the HTTP app shares it."""

    settings: Settings
    executor: Runs
    prefetched: Prefetched
    slots: Slots
    scratch: Path


class Agent:
    def __init__(self, machine: Machine, link: Link, incarnation: str | None = None) -> None:
        self._machine = machine
        self._link = link
        self._incarnation = incarnation or uuid4().hex
        self._attempts: dict[int, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_claim = asyncio.Event()
        self._wanted = asyncio.Event()
        self._paused = False
        self._rules = wire.RegisterReply(heartbeat_s=5.0, claim_wait_s=20.0, orphan_after_s=120.0, origin="")
        self._tools: Tools | None = None
        self._fetcher: Fetcher | None = None

    async def run(self) -> Exit:
        """Serves until it is told to stop, by the orchestrator or by `stop`, or has been alone for too long."""
        try:
            if not await self._first_contact():
                return Exit.STOPPED
            self._may_claim.set()
            return await self._serve()
        except Refused as error:
            _log.error("refused", error=str(error))
            return Exit.REFUSED
        except (LetGo, Stale) as error:
            _log.info("let_go", reason=str(error))
            return Exit.STOPPED
        except LinkError as error:
            _log.error("no_orchestrator", error=str(error))
            return Exit.UNREACHABLE
        finally:
            await self._end_attempts(0.0, STOPPED)
            if self._fetcher is not None:
                await self._fetcher.aclose()
            self._machine.prefetched.drop()

    def stop(self) -> None:
        """No more claims; running attempts get the grace of the settings, then end as the host's fault."""
        self._wanted.set()

    async def _first_contact(self) -> bool:
        """Registers, and is patient until `stop`: False then."""
        contact = asyncio.ensure_future(patiently(self._register, for_s=FIRST_CONTACT_S_MAX))
        stop = asyncio.create_task(self._wanted.wait())
        await asyncio.wait({contact, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if contact.done():
            await contact
            return True
        contact.cancel()
        await asyncio.gather(contact, return_exceptions=True)
        return False

    async def _serve(self) -> Exit:
        beats = asyncio.create_task(self._beat_forever())
        claims = asyncio.create_task(self._claim_forever())
        stop = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({beats, claims, stop}, return_when=asyncio.FIRST_COMPLETED)
            claims.cancel()
            if stop.done():
                await self._end_attempts(self._machine.settings.grace_s, STOPPED)
                return Exit.STOPPED
            if beats.done():
                return beats.result()
            return claims.result()
        finally:
            for task in (beats, claims, stop):
                task.cancel()
            await asyncio.gather(beats, claims, stop, return_exceptions=True)

    async def _register(self) -> None:
        settings = self._machine.settings
        said = wire.RegisterRequest(
            incarnation=self._incarnation,
            engines=self._machine.executor.offers,
            gpu_class=settings.gpu_class,
            vram_gb=settings.vram_gb,
            capacity=settings.capacity,
            version=VERSION,
        )
        try:
            self._rules = await self._link.register(said)
        except Stale as error:
            raise LetGo(str(error)) from error
        if self._tools is None:
            self._tools = self._equip()
        _log.info("registered", worker_id=settings.worker_id, engines=[one.engine for one in said.engines])

    def _equip(self) -> Tools:
        settings = self._machine.settings
        origins = [origin for origin in (self._rules.origin, settings.orchestrator_url) if origin]
        self._fetcher = Fetcher(
            allow_hosts=settings.allow_private_hosts,
            allow_origins=origins,
            bytes_max=settings.download_bytes_max,
        )
        return Tools(
            link=self._link,
            executor=self._machine.executor,
            fetcher=self._fetcher,
            incarnation=self._incarnation,
            folder=self._machine.scratch / "attempts",
            finish_patience_s=self._rules.orphan_after_s,
        )

    # Heartbeats

    async def _beat_forever(self) -> Exit:
        while True:
            try:
                self._obey(await self._link.heartbeat(self._beat()))
            except Stale:
                await self._register_again()
            except Unreachable as error:
                _log.warning("heartbeat_failed", error=str(error))
            silent_s = time.monotonic() - self._link.heard_at
            if silent_s > self._rules.orphan_after_s:
                _log.error("orphaned", silent_s=round(silent_s, 1))
                await self._end_attempts(0.0, ORPHANED)
                return Exit.ORPHANED
            await asyncio.sleep(self._rules.heartbeat_s)

    def _beat(self) -> wire.HeartbeatRequest:
        settings = self._machine.settings
        return wire.HeartbeatRequest(
            status="busy" if self._attempts else "paused" if self._paused else "idle",
            gpu_class=settings.gpu_class,
            capacity=settings.capacity,
            incarnation=self._incarnation,
            resident=self._machine.executor.resident(),
            attempts=tuple(self._attempts),
        )

    def _obey(self, told: wire.HeartbeatReply) -> None:
        for attempt_id in told.cancel:
            if attempt_id in self._attempts:
                self._attempts[attempt_id].take_back()
        if told.stop:
            raise LetGo("told to stop")
        self._paused = told.pause
        if told.drain or told.pause:
            self._may_claim.clear()
        else:
            self._may_claim.set()
        if told.prefetch is not None and self._fetcher is not None:
            self._machine.prefetched.hint(told.prefetch, self._fetcher)

    async def _register_again(self) -> None:
        """The orchestrator may have started anew and not know this incarnation."""
        try:
            await self._register()
        except Unreachable as error:
            _log.warning("register_failed", error=str(error))

    # Claims

    async def _claim_forever(self) -> Exit:
        nonce = uuid4().hex
        while True:
            while not (self._may_claim.is_set() and self._machine.slots.free):
                await self._may_claim.wait()
                await self._machine.slots.until_free()
            try:
                reply = await self._claim(nonce)
            except Stale:
                await self._register_again()
                await asyncio.sleep(RETRY_S)
                continue
            except Unreachable as error:
                _log.warning("claim_failed", error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if reply is None:
                continue
            nonce = uuid4().hex
            if reply.assignment is not None:
                await self._begin(reply.assignment)
            elif reply.stop:
                raise LetGo("told to stop")
            elif reply.drain:
                self._may_claim.clear()

    async def _claim(self, nonce: str) -> wire.ClaimReply | None:
        """One long poll; None when a local job took the last slot meanwhile.

        An answer that is lost, here or on the way, comes again for the same nonce.
        """
        said = wire.ClaimRequest(
            incarnation=self._incarnation,
            nonce=nonce,
            wait_s=self._rules.claim_wait_s,
            resident=self._machine.executor.resident(),
        )
        claim = asyncio.create_task(self._link.claim(said))
        full = asyncio.create_task(self._machine.slots.until_full())
        try:
            await asyncio.wait({claim, full}, return_when=asyncio.FIRST_COMPLETED)
            return claim.result() if claim.done() else None
        finally:
            for task in (claim, full):
                task.cancel()
            await asyncio.gather(claim, full, return_exceptions=True)

    async def _begin(self, assignment: wire.Assignment) -> None:
        if assignment.attempt in self._attempts or self._tools is None:
            return
        slots = self._machine.slots
        while not slots.take():
            await slots.until_free()
        attempt = Attempt(assignment, self._tools, slots.give)
        self._attempts[attempt.id] = attempt
        task = asyncio.create_task(self._hold(attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self, attempt: Attempt) -> None:
        _log.info("attempt_started", attempt=attempt.id)
        try:
            await attempt.run()
        except Exception:  # noqa: BLE001  The top of a task: the next attempt must still have its turn.
            _log.exception("attempt_broke", attempt=attempt.id)
        finally:
            self._attempts.pop(attempt.id, None)
            _log.info("attempt_ended", attempt=attempt.id)

    async def _end_attempts(self, grace_s: float, fault: Fault) -> None:
        """Waits for the running attempts, then stops those that are left, and waits for their reports."""
        if self._tasks and grace_s:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for attempt in list(self._attempts.values()):
            attempt.stop(fault)
        if self._tasks:
            await asyncio.wait(self._tasks)

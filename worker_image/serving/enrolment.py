"""Reporting for duty: the first contact, and again whenever the orchestrator does not know this incarnation."""

import asyncio
import time

import structlog

from gpulease.contract import agent as wire
from worker_image.attempt import Tools
from worker_image.link import Link, Stale, Unreachable, patiently
from worker_image.media.fetch import Fetcher
from worker_image.serving.machine import Machine

VERSION = "1"
CLOCK_OFF_S_MAX = 60.0

_log = structlog.get_logger()


class LetGo(Exception):
    """The orchestrator has no more use for this worker."""


class Enrolment:
    """`rules` are how to behave, as told last; `at` is when, by the monotonic clock, or 0.0 for not yet."""

    def __init__(self, machine: Machine, link: Link, incarnation: str) -> None:
        self._machine = machine
        self._link = link
        self._incarnation = incarnation
        self._fetcher: Fetcher | None = None
        self._unheard = False
        self.rules = wire.RegisterReply(heartbeat_s=5.0, claim_wait_s=20.0, orphan_after_s=120.0, origin="")
        self.at = 0.0

    async def first(self, patience_s: float, unless: asyncio.Event) -> bool:
        """Registers, and is so patient; False when `unless` is set before.

        Raises:
            LetGo, LinkError: it cannot serve.
        """
        contact = asyncio.create_task(patiently(lambda: self._try(patience_s), for_s=patience_s))
        ends = asyncio.create_task(unless.wait())
        try:
            await asyncio.wait({contact, ends}, return_when=asyncio.FIRST_COMPLETED)
            if contact.done():
                contact.result()
            return contact.done()
        finally:
            for task in (contact, ends):
                task.cancel()
            await asyncio.gather(contact, ends, return_exceptions=True)

    async def again(self) -> None:
        """The orchestrator may have started anew. One that does not answer is asked at the next occasion."""
        try:
            await self._register()
        except Unreachable as error:
            _log.warning("register_failed", error=str(error))

    def tools(self) -> Tools:
        """What attempts share; called after the first contact."""
        if self._fetcher is None:
            self._fetcher = self._new_fetcher()
        return Tools(
            link=self._link,
            executor=self._machine.executor,
            fetcher=self._fetcher,
            incarnation=self._incarnation,
            folder=self._machine.scratch / "attempts",
            finish_patience_s=self.rules.orphan_after_s,
        )

    async def aclose(self) -> None:
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def _try(self, patience_s: float) -> None:
        try:
            await self._register()
        except Unreachable as error:
            if patience_s and not self._unheard:
                _log.warning("no_answer", url=self._machine.settings.orchestrator_url, error=str(error))
            self._unheard = True
            raise

    async def _register(self) -> None:
        settings = self._machine.settings
        said = wire.RegisterRequest(
            incarnation=self._incarnation,
            engines=self._machine.executor.offers,
            gpu_class=self._machine.gpu_class,
            vram_gb=self._machine.vram_gb,
            capacity=settings.capacity,
            queues=settings.queues,
            usd_per_hour=settings.usd_per_hour,
            version=VERSION,
        )
        try:
            self.rules = await self._link.register(said)
        except Stale as error:
            raise LetGo(str(error)) from error
        self.at = time.monotonic()
        if abs(self._link.clock_off_s) > CLOCK_OFF_S_MAX:
            _log.warning("clock_off", off_s=self._link.clock_off_s)
        names = [one.engine for one in said.engines]
        whose = {"url": settings.orchestrator_url, "worker_id": settings.worker_id}
        _log.info("registered", **whose, engines=names, capacity=said.capacity)

    def _new_fetcher(self) -> Fetcher:
        settings = self._machine.settings
        named = (self.rules.origin, *self.rules.origins, settings.orchestrator_url)
        origins = [origin for origin in named if origin]
        return Fetcher(
            allow_hosts=settings.allow_private_hosts,
            allow_origins=origins,
            bytes_max=settings.download_bytes_max,
        )

"""Claims: one long poll after the other, while the gate is open and a slot is free."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

from gpulease.contract import agent as wire
from worker_image.link import Link
from worker_image.serving.gate import Gate
from worker_image.slots import Slots

LAST_WORD_S = 1.0
"""What was promised just before the gate closed may still be on its way."""


class Claims:
    """`wait_s` is how long the orchestrator should wait for a job before it says that there is none."""

    def __init__(
        self, link: Link, slots: Slots, gate: Gate, incarnation: str, resident: Callable[[], tuple[str, ...]]
    ) -> None:
        self._link = link
        self._slots = slots
        self._gate = gate
        self._incarnation = incarnation
        self._resident = resident
        self._nonce = uuid4().hex
        self.wait_s = 20.0

    async def next(self) -> wire.ClaimReply | None:
        """One answer; None when the gate closed, or a local job took the last slot, meanwhile.

        An answer that is lost, here or on the way, comes again for the same nonce.

        Raises:
            LinkError: there was none.
        """
        while not (self._gate.is_open and self._slots.free):
            await self._gate.until_open()
            await self._slots.until_free()
        said = wire.ClaimRequest(
            incarnation=self._incarnation, nonce=self._nonce, wait_s=self.wait_s, resident=self._resident()
        )
        reply = await self._while_wanted(asyncio.create_task(self._link.claim(said)))
        if reply is not None:
            self._nonce = uuid4().hex
        return reply

    async def _while_wanted(self, claim: asyncio.Task[wire.ClaimReply]) -> wire.ClaimReply | None:
        full = asyncio.create_task(self._slots.until_full())
        closed = asyncio.create_task(self._gate.until_closed())
        try:
            await asyncio.wait({claim, full, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not claim.done():
                await asyncio.wait({claim}, timeout=LAST_WORD_S)
            return claim.result() if claim.done() else None
        finally:
            for task in (claim, full, closed):
                task.cancel()
            await asyncio.gather(claim, full, closed, return_exceptions=True)

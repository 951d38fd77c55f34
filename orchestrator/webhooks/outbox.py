"""The outbox's loop: what is due goes into its host's lane, is sent when that may send, and is recorded.

A send whose outcome was not recorded, since we died, is due again: a receiver may see a delivery twice, under one id.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from orchestrator.clock import Clock
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Delivery
from orchestrator.webhooks.lanes import Lane, Lanes, LeftOut
from orchestrator.webhooks.schedule import Schedule, jittered
from orchestrator.webhooks.send import Answer, Outcome, Sender

FRESH_MAX = 500
"""Taken from the store at once, beside what is in hand already and still due there."""
ROUNDS_MAX = 10
IN_HAND_MAX = 5_000
CROWDED_S_MIN = 1.0
CROWDED_S_MAX = 600.0
HELD_S_MAX = 3 * 86400.0
"""What a circuit holds back for longer is given up."""
OURS_S = 30.0
"""Until a send that failed on our side, such as without a storage, is begun again."""
GRACE_S = 3.0
REPORTED_MAX = 100
log = structlog.get_logger()


class Webhooks:
    """`on_room` is called when a host's lane has room again for what was left in the store."""

    def __init__(
        self, store: Store, clock: Clock, sender: Sender, schedule: Schedule, dice: random.Random
    ) -> None:
        self._store = store
        self._clock = clock
        self._sender = sender
        self._schedule = schedule
        self._dice = dice
        self._lanes = Lanes()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.on_room: Callable[[], None] = lambda: None

    async def deliver_due(self) -> None:
        """Takes in hand what is due, and starts what may be sent. It waits for none of it."""
        for _ in range(ROUNDS_MAX):
            more = not self._closed and len(self._lanes.in_hand) < IN_HAND_MAX and await self._take()
            self._start()
            if not more:
                return

    async def drain(self) -> None:
        """Waits until nothing is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self, *, grace_s: float = GRACE_S) -> None:
        """Gives what is on its way a moment, and drops the rest; that is due again at the next start."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        await self.drain()
        await self._sender.aclose()

    def report(self) -> dict[str, Any]:
        """What is in hand, and the hosts that are left alone, those that come up first ahead."""
        silent = [lane for lane in self._lanes if lane.breaker.until is not None]
        silent.sort(key=lambda lane: lane.breaker.until or 0.0)
        return {
            "sending": self._lanes.sending,
            "waiting": sum(len(lane.waiting) for lane in self._lanes),
            "circuits_open": len(silent),
            "circuits": [_circuit(lane) for lane in silent[:REPORTED_MAX]],
        }

    async def _take(self) -> bool:
        """Whether there may be more behind it."""
        now = self._clock.now()
        self._lanes.forget(now)
        # What ends while we read was still due then; without this it would be sent again.
        known = frozenset(self._lanes.in_hand)
        limit = FRESH_MAX + len(known)
        due = await self._store.due_deliveries(now=now, limit=limit)
        hides = len(due) == limit
        for left in self._lanes.take((one for one in due if one.id not in known), now):
            if left.lane.breaker.is_open(now):
                await self._hold(left.lane, left.deliveries)
            elif hides:
                await self._crowd_out(left)
            else:
                left.lane.left_out = True
        return hides

    async def _crowd_out(self, left: LeftOut) -> None:
        """Makes way for other hosts' deliveries: these are due again when their lane may be empty."""
        now = self._clock.now()
        wait_s = min(CROWDED_S_MAX, max(CROWDED_S_MIN, left.lane.until_empty_s))
        ids = [one.id for one in left.deliveries]
        await self._store.put_off_deliveries(ids, until=now + wait_s, reason=None, now=now)

    async def _hold(self, lane: Lane, deliveries: Sequence[Delivery]) -> None:
        """Puts them off until their host's circuit lets a probe through, or gives up those that waited too long."""
        now = self._clock.now()
        until = lane.breaker.until or now
        reason = f"the circuit is open: {lane.host} gave no answer to {lane.breaker.silent} sends in a row"
        await self._put_off(deliveries, now + jittered(until - now, self._dice), reason)

    async def _put_off(self, deliveries: Sequence[Delivery], until: float, reason: str) -> None:
        now = self._clock.now()
        too_long = [one.id for one in deliveries if now - (one.held_since or now) > HELD_S_MAX]
        others = [one.id for one in deliveries if now - (one.held_since or now) <= HELD_S_MAX]
        if others:
            await self._store.put_off_deliveries(others, until=until, reason=reason, now=now)
        if too_long:
            given_up = f"given up after 3 days without a try: {reason}"
            await self._store.put_off_deliveries(too_long, until=None, reason=given_up, now=now)
            log.warning("webhooks_given_up", count=len(too_long), reason=reason)

    def _start(self) -> None:
        """Starts all that may be sent now."""
        while not self._closed and (found := self._lanes.begin(self._clock.now())):
            task = asyncio.create_task(self._deliver(*found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        """What breaks on our side is not recorded as a try, and is due again."""
        try:
            outcome = await self._send(lane, delivery)
            if lane.breaker.is_open(self._clock.now()):
                await self._hold(lane, self._lanes.clear(lane))
            if outcome.counts:
                await self._record(delivery, outcome)
            else:
                until = self._clock.now() + OURS_S
                await self._put_off([delivery], until, outcome.error or "")
        except Exception:
            log.exception("webhook_broke", delivery=delivery.id)
        finally:
            self._lanes.drop(delivery)

    async def _send(self, lane: Lane, delivery: Delivery) -> Outcome:
        """The next of its host goes out while what came of this one is recorded."""
        began = time.monotonic()
        try:
            outcome = await self._sender.send(delivery)
            lane.took(time.monotonic() - began)
            self._learn(lane, outcome)
        finally:
            self._lanes.end(lane)
            self._start()
        if lane.wants_more:
            lane.left_out = False
            self.on_room()
        return outcome

    def _learn(self, lane: Lane, outcome: Outcome) -> None:
        match outcome.answer:
            case Answer.SPOKEN:
                lane.breaker.answered()
            case Answer.SILENT:
                lane.breaker.unanswered(self._clock.now())
            case Answer.NOT_ASKED:
                pass

    async def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        now = self._clock.now()
        again_s = None
        if outcome.error is not None:
            # Read again, since somebody may have asked for a replay meanwhile.
            current = await self._store.get_delivery(delivery.id) or delivery
            again_s = self._schedule.wait_s(current.tries + 1, self._dice)
            log.warning("webhook_failed", job=delivery.job_id, error=outcome.error, again_s=again_s)
        await self._store.record_delivery(
            delivery.id,
            status=outcome.status,
            error=outcome.error,
            now=now,
            next_at=None if again_s is None else now + again_s,
        )


def _circuit(lane: Lane) -> dict[str, Any]:
    until = datetime.fromtimestamp(lane.breaker.until or 0.0, UTC)
    return {"host": lane.host, "unanswered": lane.breaker.silent, "probe_at": until.isoformat()}

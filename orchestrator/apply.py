"""Act: turns each action of a plan into a guarded move. The move is written first; only then a provider is asked."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from orchestrator.clock import Clock
from orchestrator.fleet.clouds.leases import Leases
from orchestrator.fleet.clouds.market import Market
from orchestrator.fleet.hosts import Hosts
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.keys import hash_key, worker_key
from orchestrator.store.protocol import Store
from orchestrator.store.rows import NewWorker, Worker, WorkerMove
from scaling.plan import Action, Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.snapshot import Offer
from scaling.states import WORKER_MOVES, WorkerState, sources

W = WorkerState
log = structlog.get_logger()


@dataclass(slots=True)
class Applier:
    store: Store
    clock: Clock
    leases: Leases
    market: Market
    hosts: Hosts
    dispatcher: Dispatcher
    dice: random.Random
    on_change: Callable[[], None] = lambda: None

    async def apply(self, plan: Plan) -> None:
        offers = self.market.offers()
        for action in plan.actions:
            await self._act(action, offers)

    async def _act(self, action: Action, offers: Sequence[Offer]) -> None:
        match action:
            case Launch():
                await self._intend(action, _sold(action, offers))
            case Buy():
                await self._buy(action)
            case Withdraw():
                await self._move(action.worker_id, W.GONE, (W.INTENDED,), action.reason)
            case Drain():
                await self.drain(action.worker_id, action.reason)
            case Stop():
                await self.hosts.blame_for_end(action.worker_id, action.reason)
                await self.stop(action.worker_id, action.reason)

    async def drain(self, worker_id: str, reason: str, who: str = "reconcile") -> bool:
        """It takes no more jobs, and is stopped once it runs nothing."""
        moved = await self._move(worker_id, W.DRAINING, (W.READY,), reason, who)
        if moved:
            self.dispatcher.release(worker_id)
            self.on_change()
        return moved

    async def stop(self, worker_id: str, reason: str, who: str = "reconcile") -> bool:
        """Marks it `stopping`, which frees its jobs for others, and deletes its instance until that is gone."""
        expected = sources(WORKER_MOVES, W.STOPPING)
        if not await self._move(worker_id, W.STOPPING, expected, reason, who):
            return False
        self.dispatcher.release(worker_id)
        self.dispatcher.look_again()
        self.leases.ensure_deleted(worker_id)
        return True

    async def retire(self, worker: Worker, reason: str) -> None:
        """Withdraws an intent, stops what is leased, and goes on deleting what is stopping."""
        if worker.state is W.INTENDED:
            await self._move(worker.id, W.GONE, (W.INTENDED,), reason)
        elif worker.state is W.STOPPING:
            self.leases.ensure_deleted(worker.id)
        else:
            await self.stop(worker.id, reason, "shutdown")

    async def _intend(self, action: Launch, offer: Offer) -> None:
        now = self.clock.now()
        worker_id = f"w-{self.dice.getrandbits(48):012x}"
        await self.store.intend_worker(
            NewWorker(
                id=worker_id,
                provider=action.provider,
                gpu_class=action.gpu_class,
                usd_per_hour=action.usd_per_hour,
                intended_at=now,
                buy_at=now + action.delay_s,
                key_hash=hash_key(worker_key(self.leases.deployment.secret, worker_id)),
                reason=action.reason,
                boot_billed=offer.boot_billed,
                granularity_s=offer.granularity_s,
                min_billed_s=offer.min_billed_s,
            )
        )
        log.info("worker_intended", worker=worker_id, provider=action.provider, reason=action.reason)
        if action.delay_s <= 0:
            self.on_change()

    async def _buy(self, action: Buy) -> None:
        intent = await self.store.get_worker(action.worker_id)
        if intent is None or not self.leases.may_buy(intent.provider):
            return
        if await self._move(intent.id, W.CREATING, (W.INTENDED,), action.reason):
            self.leases.begin(intent)

    async def _move(
        self,
        worker_id: str,
        to: WorkerState,
        expected: tuple[WorkerState, ...],
        reason: str,
        who: str = "reconcile",
    ) -> bool:
        moved = await self.store.move_worker(
            worker_id, WorkerMove(to, expected, who, reason), now=self.clock.now()
        )
        if moved:
            log.info("worker_moved", worker=worker_id, to=to.value, reason=reason)
        return moved


def _sold(action: Launch, offers: Sequence[Offer]) -> Offer:
    """What the plan was made with: prices may have changed since, by a little."""
    same = [one for one in offers if (one.provider, one.gpu_class) == (action.provider, action.gpu_class)]
    return min(same, key=lambda one: abs(one.usd_per_hour - action.usd_per_hour))

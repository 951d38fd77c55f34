"""Act: turns each action of a plan into a guarded move, and then into a call to a provider.

The move is written first. A provider call runs beside the loop, one a worker at a time, so that a slow launch
blocks nobody; its outcome is written with a guard again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from orchestrator.clock import Clock
from orchestrator.fleet.market import Market
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.keys import hash_key, worker_key
from orchestrator.store.protocol import Store
from orchestrator.store.rows import NewWorker, Worker, WorkerMove
from provider_clients.base import Instance, LaunchSpec, Provider
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)
from scaling.plan import Action, Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.snapshot import Offer
from scaling.states import WORKER_MOVES, WorkerState, sources

W = WorkerState
RETRY_S = 1.0
RETRY_S_MAX = 30.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Who we are to the providers: tags are `{id}-{worker_id}`."""

    id: str
    secret: bytes
    origin: Callable[[], str]

    def tag(self, worker_id: str) -> str:
        return f"{self.id}-{worker_id}"


@dataclass(slots=True)
class Applier:
    store: Store
    clock: Clock
    providers: dict[str, Provider]
    market: Market
    dispatcher: Dispatcher
    deployment: Deployment
    on_change: Callable[[], None] = lambda: None
    _calls: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def apply(self, plan: Plan) -> None:
        offers = {(one.provider, one.gpu_class): one for one in self.market.offers()}
        for action in plan.actions:
            await self._act(action, offers)

    async def _act(self, action: Action, offers: dict[tuple[str, str], Offer]) -> None:
        match action:
            case Launch():
                await self._intend(action, offers[action.provider, action.gpu_class])
            case Buy():
                await self._buy(action)
            case Withdraw():
                await self._move(action.worker_id, W.GONE, (W.INTENDED,), action.reason)
            case Drain():
                await self._move(action.worker_id, W.DRAINING, (W.READY,), action.reason)
                self.dispatcher.release(action.worker_id)
                self.on_change()
            case Stop():
                await self.stop(action.worker_id, action.reason)

    async def stop(self, worker_id: str, reason: str, who: str = "reconcile") -> bool:
        """Marks it `stopping`, which frees its jobs for others, and deletes its instance until that is gone."""
        expected = sources(WORKER_MOVES, W.STOPPING)
        if not await self._move(worker_id, W.STOPPING, expected, reason, who):
            return False
        self.dispatcher.release(worker_id)
        self.dispatcher.look_again()
        self.ensure_deleted(worker_id)
        return True

    async def retire(self, worker: Worker, reason: str) -> None:
        """Withdraws an intent, stops what is leased, and goes on deleting what is stopping."""
        if worker.state is W.INTENDED:
            await self._move(worker.id, W.GONE, (W.INTENDED,), reason)
        elif worker.state is W.STOPPING:
            self.ensure_deleted(worker.id)
        else:
            await self.stop(worker.id, reason, "shutdown")

    async def _intend(self, action: Launch, offer: Offer) -> None:
        now = self.clock.now()
        worker_id = f"w-{uuid4().hex[:12]}"
        await self.store.intend_worker(
            NewWorker(
                id=worker_id,
                provider=action.provider,
                gpu_class=action.gpu_class,
                usd_per_hour=action.usd_per_hour,
                intended_at=now,
                buy_at=now + action.delay_s,
                key_hash=hash_key(worker_key(self.deployment.secret, worker_id)),
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
        worker = await self.store.get_worker(action.worker_id)
        if worker is None or not await self._move(worker.id, W.CREATING, (W.INTENDED,), action.reason):
            return
        self._call(worker.id, "create", self._create(worker))

    async def _create(self, worker: Worker) -> None:
        provider = self.providers[worker.provider]
        spec = LaunchSpec(
            worker_id=worker.id,
            gpu_class=worker.gpu_class,
            orchestrator_url=self.deployment.origin(),
            worker_key=worker_key(self.deployment.secret, worker.id),
        )
        try:
            instance = await provider.create(spec, self.deployment.tag(worker.id))
        except OutcomeUnknown as error:
            log.warning("create_outcome_unknown", worker=worker.id, error=str(error))
            return
        except ProviderError as error:
            await self._refused(worker, error)
            return
        await self.adopt(worker, instance, "the provider created it")

    async def adopt(self, worker: Worker, instance: Instance, reason: str) -> None:
        """Ties an instance to its row. A worker that registered before its create returned stays ready."""
        facts = facts_of(instance)
        move = WorkerMove(W.STARTING, (W.CREATING,), "apply", reason, facts)
        if not await self.store.move_worker(worker.id, move, now=self.clock.now()):
            await self.store.note_instance(worker.id, facts)
        self.on_change()

    async def _refused(self, worker: Worker, error: ProviderError) -> None:
        """A clear no: nothing was made, so the row may go; the market learns from it."""
        log.warning("create_refused", worker=worker.id, kind=type(error).__name__, error=str(error))
        match error:
            case RateLimited():
                self.market.cool(worker.provider, worker.gpu_class, error.retry_after_s)
            case NoCapacity() | Rejected() | BadCredentials():
                self.market.cool(worker.provider, worker.gpu_class)
            case _:
                return
        await self._move(worker.id, W.GONE, (W.CREATING,), f"{type(error).__name__}: {error}")
        self.on_change()

    def ensure_deleted(self, worker_id: str) -> None:
        """Starts the deletion of a stopping worker's instance, unless it is under way."""
        if not self._is_deleting(worker_id):
            self._call(worker_id, "delete", self._delete(worker_id))

    async def _delete(self, worker_id: str) -> None:
        wait_s = RETRY_S
        while (worker := await self.store.get_worker(worker_id)) and worker.state is W.STOPPING:
            try:
                if await self._is_gone(worker):
                    await self._move(
                        worker_id, W.GONE, (W.STOPPING,), "the provider confirmed that it is gone"
                    )
                    self.on_change()
                    return
            except ProviderError as error:
                log.warning("delete_failed", worker=worker_id, error=str(error), retry_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S_MAX, wait_s * 2)

    async def _is_gone(self, worker: Worker) -> bool:
        """Deletes, and believes only a "not found" or a successful list without it."""
        provider = self.providers.get(worker.provider)
        if provider is None:
            log.error("provider_not_configured", worker=worker.id, provider=worker.provider)
            return False
        tag = self.deployment.tag(worker.id)
        instance_id = worker.instance_id or next(
            (one.id for one in await provider.list() if one.tag == tag), None
        )
        if instance_id is None:
            return True
        try:
            await provider.delete(instance_id)
            await provider.get(instance_id)
        except NotFound:
            return True
        return False

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

    def busy_with(self, worker_id: str) -> bool:
        """Whether a call to the provider about this worker is under way."""
        task = self._calls.get(worker_id)
        return task is not None and not task.done()

    def _is_deleting(self, worker_id: str) -> bool:
        return self.busy_with(worker_id) and self._calls[worker_id].get_name() == "delete"

    def _call(self, worker_id: str, name: str, body: Coroutine[None, None, None]) -> None:
        """Starts a call to the provider, after the one that is under way for this worker."""
        before = self._calls.get(worker_id)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await body

        task = asyncio.create_task(in_turn(), name=name)
        self._calls[worker_id] = task
        task.add_done_callback(lambda done: self._called(worker_id, done))

    def _called(self, worker_id: str, task: asyncio.Task[None]) -> None:
        if self._calls.get(worker_id) is task:
            del self._calls[worker_id]
        if not task.cancelled() and (error := task.exception()):
            log.error("provider_call_failed", worker=worker_id, error=repr(error))

    async def aclose(self) -> None:
        """Abandons what is under way; rows say where to go on."""
        tasks = list(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

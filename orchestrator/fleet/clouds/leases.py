"""Leases, from the call that buys to the word that it is over: what is asked of providers, one call a worker at a time.

A call runs beside the loop, so that a slow launch blocks nobody; its outcome is written with a guard.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from orchestrator.clock import Clock
from orchestrator.fleet.clouds.market import Market
from orchestrator.fleet.clouds.matching import Found, Memory, by_id, by_tag
from orchestrator.keys import worker_key
from orchestrator.store.protocol import Store
from orchestrator.store.rows import InstanceFacts, Worker, WorkerMove
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
from scaling.states import WorkerState

W = WorkerState
RETRY_S = 1.0
RETRY_S_MAX = 30.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Who we are to the providers: tags are `{id}-{worker_id}`. `exclusive` names the providers whose accounts
    nobody else uses.
    """

    id: str
    secret: bytes
    origin: Callable[[], str]
    exclusive: frozenset[str] = frozenset()

    def tag(self, worker_id: str) -> str:
        return f"{self.id}-{worker_id}"


@dataclass(slots=True)
class Leases:
    store: Store
    clock: Clock
    providers: dict[str, Provider]
    market: Market
    deployment: Deployment
    on_change: Callable[[], None] = lambda: None
    _calls: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def begin(self, worker: Worker) -> None:
        """Buys: the row says `creating` already, so that the purchase is remembered whatever happens to us."""
        self._call(worker.id, f"create:{worker.provider}", lambda: self._create(worker))

    async def _create(self, worker: Worker) -> None:
        provider = self.providers[worker.provider]
        spec = LaunchSpec(
            worker_id=worker.id,
            gpu_class=worker.gpu_class,
            orchestrator_url=self.deployment.origin(),
            worker_key=worker_key(self.deployment.secret, worker.id),
            usd_per_hour=worker.usd_per_hour,
        )
        try:
            instance = await provider.create(spec, self.deployment.tag(worker.id))
        except OutcomeUnknown as error:
            log.warning("create_outcome_unknown", worker=worker.id, error=str(error))
        except ProviderError as error:
            await self._refused(worker, error)
        else:
            self.market.take(worker.provider, worker.gpu_class)
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
                self.market.cool(worker, error.retry_after_s)
            case NoCapacity() | Rejected() | BadCredentials():
                self.market.cool(worker)
            case _:
                return
        await self._move(worker.id, W.GONE, W.CREATING, f"{type(error).__name__}: {error}")
        self.on_change()

    def ensure_deleted(self, worker_id: str) -> None:
        """Starts the deletion of a stopping worker's instance, unless it is under way."""
        if not (self.busy_with(worker_id) and self._calls[worker_id].get_name() == "delete"):
            self._call(worker_id, "delete", lambda: self._delete(worker_id))

    async def _delete(self, worker_id: str) -> None:
        wait_s = RETRY_S
        while (worker := await self.store.get_worker(worker_id)) and worker.state is W.STOPPING:
            try:
                if await self._is_gone(worker):
                    await self._move(worker_id, W.GONE, W.STOPPING, _why_gone(worker))
                    self.on_change()
                    return
            except ProviderError as error:
                log.warning("delete_failed", worker=worker_id, error=str(error), retry_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S_MAX, wait_s * 2)

    async def _is_gone(self, worker: Worker) -> bool:
        """Deletes, and believes only a "not found" or a successful list without it."""
        if worker.owned:
            return True
        provider = self.providers.get(worker.provider)
        if provider is None:
            log.error("provider_not_configured", worker=worker.id, provider=worker.provider)
            return False
        if worker.instance_id is None:
            return await self._never_was(provider, worker)
        return await self._delete_once(provider, worker, worker.instance_id)

    async def _delete_once(self, provider: Provider, worker: Worker, instance_id: str) -> bool:
        try:
            if receipt := await provider.delete(instance_id):
                await self.store.note_receipt(worker.id, receipt)
            await provider.get(instance_id)
        except NotFound:
            return True
        return False

    async def _never_was(self, provider: Provider, worker: Worker) -> bool:
        """Whether a creation that never told what it made has made nothing; what it made is deleted next time."""
        found = await self.compare(provider, await provider.list())
        if instance := found.rows.get(worker.id):
            await self.store.note_instance(worker.id, facts_of(instance))
            return False
        return not found.open and self.clock.now() - (worker.creating_at or 0.0) > provider.list_lag_s

    async def compare(self, provider: Provider, instances: tuple[Instance, ...]) -> Found:
        """What a successful listing means, by our rows as they are now."""
        workers = await self.store.list_workers(include_gone=False, limit=10_000)
        theirs = [one for one in workers if one.provider == provider.name and one.state is not W.INTENDED]
        if provider.tagged:
            return by_tag(instances, theirs, self.deployment.id)
        memory = Memory(
            known=await self.store.known_instances(provider.name),
            window_s=provider.list_lag_s,
            exclusive=provider.name in self.deployment.exclusive,
            creating=self.is_buying(provider.name),
        )
        return by_id(instances, theirs, memory)

    def may_buy(self, provider: str) -> bool:
        """Where instances carry no tags, purchases are made one after the other: what appears is then that one's."""
        client = self.providers.get(provider)
        return client is not None and (client.tagged or not self.is_buying(provider))

    def is_buying(self, provider: str) -> bool:
        return f"create:{provider}" in {task.get_name() for task in self._calls.values() if not task.done()}

    async def _move(self, worker_id: str, to: WorkerState, before: WorkerState, reason: str) -> None:
        move = WorkerMove(to, (before,), "apply", reason)
        if await self.store.move_worker(worker_id, move, now=self.clock.now()):
            log.info("worker_moved", worker=worker_id, to=to.value, reason=reason)

    def busy_with(self, worker_id: str) -> bool:
        """Whether a call to the provider about this worker is under way."""
        task = self._calls.get(worker_id)
        return task is not None and not task.done()

    def _call(self, worker_id: str, name: str, body: Callable[[], Awaitable[None]]) -> None:
        """Starts a call to the provider, after the one that is under way for this worker."""
        before = self._calls.get(worker_id)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await body()

        task = asyncio.create_task(in_turn(), name=name)
        self._calls[worker_id] = task
        task.add_done_callback(lambda done: self._called(worker_id, done))

    def _called(self, worker_id: str, task: asyncio.Task[None]) -> None:
        if self._calls.get(worker_id) is task:
            del self._calls[worker_id]
        if not task.cancelled() and (error := task.exception()):
            log.error("provider_call_broke", worker=worker_id, exc_info=error)

    async def aclose(self) -> None:
        """Gives up waiting. What the store says is enough to go on from at the next start."""
        tasks = list(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def facts_of(instance: Instance) -> InstanceFacts:
    return InstanceFacts(instance.id, instance.lease_ends_at, instance.address, instance.host_id)


def _why_gone(worker: Worker) -> str:
    return "its owner's machine left" if worker.owned else "the provider confirmed that it is gone"

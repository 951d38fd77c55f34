"""What leased machines need while they are leased: probes, better hosts, protection while busy, longer leases.

Each look at a worker is one or two reads of its provider; what they find is written to its row, and a plan acts on it.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from orchestrator.apply import Applier
from orchestrator.fleet.clouds.leases import facts_of
from orchestrator.fleet.hosts import BAD_SCORE
from orchestrator.store.rows import Worker
from provider_clients.base import Exchanges, Extends, Instance, Probes, Protects, Provider
from provider_clients.errors import ProviderError
from scaling.states import WorkerState

W = WorkerState
EXTEND_BELOW_S = 600.0
EXTEND_BY_S = 3600.0
Scores = Mapping[tuple[str, str], float]
log = structlog.get_logger()


@dataclass(slots=True)
class Upkeep:
    """One pass every health period, over all live workers at once."""

    applier: Applier
    _protected: dict[str, bool] = field(default_factory=dict)

    async def look(self) -> None:
        fleet = await self.applier.store.read_fleet()
        scores = await self.applier.hosts.scores()
        busy = Counter(attempt.worker_id for attempt, _ in fleet.attempts)
        alive = [one for one in fleet.workers if one.instance_id is not None]
        await asyncio.gather(*(self._one(worker, scores, busy=busy[worker.id] > 0) for worker in alive))
        ids = {one.id for one in alive}
        self._protected = {name: on for name, on in self._protected.items() if name in ids}

    async def _one(self, worker: Worker, scores: Scores, *, busy: bool) -> None:
        provider = self.applier.leases.providers.get(worker.provider)
        if provider is None:
            return
        try:
            if worker.state is W.STARTING and not worker.owned:
                await self._booting(provider, worker, scores)
            elif worker.state in (W.READY, W.DRAINING):
                await self._serving(provider, worker, busy=busy)
        except ProviderError as error:
            log.warning("upkeep_failed", worker=worker.id, error=str(error))

    async def _booting(self, provider: Provider, worker: Worker, scores: Scores) -> None:
        """A host that failed us lately, or that does not get on, is exchanged before it costs anything."""
        instance = await self._read(provider, worker)
        why = _why_exchange(instance, scores, worker.provider)
        if why is None:
            return
        log.warning("host_refused", worker=worker.id, host=instance.host_id, reason=why)
        if instance.trouble is not None:
            await self.applier.hosts.blame(replace(worker, host_id=instance.host_id), why)
        if isinstance(provider, Exchanges):
            await provider.exchange(instance.id, why)
        else:
            self.applier.market.cool(worker)
            await self.applier.stop(worker.id, why, "upkeep")

    async def _serving(self, provider: Provider, worker: Worker, *, busy: bool) -> None:
        if isinstance(provider, Probes):
            await self._probe(provider, worker)
        if isinstance(provider, Protects) and self._protected.get(worker.id) is not busy:
            await provider.protect(worker.instance_id or "", busy=busy)
            self._protected[worker.id] = busy
        if isinstance(provider, Extends) and busy and self._is_ending(worker):
            extended = await provider.extend(worker.instance_id or "", EXTEND_BY_S)
            await self.applier.store.note_instance(worker.id, facts_of(extended))

    async def _probe(self, provider: Probes, worker: Worker) -> None:
        seen = Instance(worker.instance_id or "", "", worker.gpu_class, address=worker.address)
        try:
            healthy = await provider.probe(seen)
        except ProviderError as error:
            # The provider could not be asked, which says nothing of the machine.
            log.info("probe_failed", worker=worker.id, error=str(error))
            return
        await self.applier.store.note_probe(worker.id, healthy=healthy)

    async def _read(self, provider: Provider, worker: Worker) -> Instance:
        instance = await provider.get(worker.instance_id or "")
        await self.applier.store.note_instance(worker.id, facts_of(instance))
        return instance

    def _is_ending(self, worker: Worker) -> bool:
        ends_at = worker.lease_ends_at
        return ends_at is not None and ends_at - self.applier.clock.now() < EXTEND_BELOW_S


def _why_exchange(instance: Instance, scores: Scores, provider: str) -> str | None:
    if instance.trouble is not None:
        return instance.trouble
    score = scores.get((provider, instance.host_id or ""), 0.0)
    return f"this host failed before (score {score:.1f})" if score >= BAD_SCORE else None

"""What the providers really run, held against our rows, in both directions.

Only a successful listing is evidence. Strangers are reported and never touched; an instance of ours that no live
row wants is deleted after a grace, and what it cost is written down; a row whose instance is not listed any more
is stopped.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from orchestrator.apply import Applier
from orchestrator.fleet.clouds.matching import Found
from orchestrator.fleet.clouds.orphans import Orphans
from orchestrator.store.rows import Worker
from provider_clients.base import Instance, Provider
from provider_clients.errors import ProviderError
from scaling.states import WorkerState

W = WorkerState
UNLISTED_LOOKS = 0.9
"""Missing at one look and at the next: such an instance is gone."""
UNKNOWN_LOOKS = 4
"""A machine that may or may not have been made, and one that nobody wants, get so many periods of grace."""
log = structlog.get_logger()


@dataclass(slots=True)
class Inventory:
    """Graces are counted in periods between looks, at 15 s by default."""

    applier: Applier
    orphans: Orphans
    period_s: float
    strangers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    _missing_since: dict[str, float] = field(default_factory=dict)

    async def sweep(self) -> None:
        """One look at every provider, each by itself, so that a slow one keeps nobody waiting."""
        await asyncio.gather(*(self._look(one) for one in self.applier.leases.providers.values()))

    async def _look(self, provider: Provider) -> None:
        """A provider that fails to list is skipped, and tells us nothing."""
        try:
            instances = await provider.list()
        except ProviderError as error:
            self.faults[provider.name] = str(error)
            log.warning("list_failed", provider=provider.name, error=str(error))
            return
        self.faults.pop(provider.name, None)
        await self._compare(provider, await self.applier.leases.compare(provider, instances))

    async def _compare(self, provider: Provider, found: Found) -> None:
        self.strangers[provider.name] = tuple(one.id for one in found.strangers)
        for worker in await self.applier.store.list_workers(include_gone=False, limit=10_000):
            theirs = worker.provider == provider.name and not worker.owned
            if theirs and not (found.open and worker.instance_id is None):
                await self._row(provider, worker, found.rows.get(worker.id))
        await self.orphans.sweep(provider, found.orphans, UNKNOWN_LOOKS * self.period_s)

    async def _row(self, provider: Provider, worker: Worker, instance: Instance | None) -> None:
        leases = self.applier.leases
        if worker.state is W.STOPPING:
            leases.ensure_deleted(worker.id)
            return
        if worker.state is W.INTENDED or leases.busy_with(worker.id):
            return
        if instance is not None and instance.running:
            self._missing_since.pop(worker.id, None)
            if worker.instance_id is None:
                await leases.adopt(worker, instance, "found at its provider")
            return
        now = self.applier.clock.now()
        missing_s = now - self._missing_since.setdefault(worker.id, now)
        looks = UNKNOWN_LOOKS if worker.instance_id is None else UNLISTED_LOOKS
        may_yet_come = now - (worker.creating_at or 0.0) < provider.list_lag_s
        if (missing_s >= looks * self.period_s and not may_yet_come) or instance is not None:
            self._missing_since.pop(worker.id, None)
            why = "is not listed by its provider any more" if instance is None else "will not run any more"
            await self.applier.stop(worker.id, f"its instance {why}", "inventory")

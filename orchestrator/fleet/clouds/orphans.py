"""Instances of ours that no live row wants: deleted after a grace, at every look until gone, and in the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from orchestrator.fleet.clouds.leases import Leases
from orchestrator.store.rows import Lease
from provider_clients.base import Instance, Provider, Receipt
from provider_clients.errors import NotFound, ProviderError

log = structlog.get_logger()


@dataclass(slots=True)
class Orphans:
    leases: Leases
    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    async def sweep(self, provider: Provider, found: Iterable[Instance], grace_s: float) -> None:
        now = self.leases.clock.now()
        seen = {(provider.name, one.id): one for one in found}
        self._since = {key: at for key, at in self._since.items() if key in seen or key[0] != provider.name}
        for key, instance in seen.items():
            if now - self._since.setdefault(key, now) >= grace_s:
                await self._delete(provider, instance)

    async def _delete(self, provider: Provider, instance: Instance) -> None:
        log.warning("orphan_deleted", provider=provider.name, instance=instance.id)
        receipt = None
        try:
            receipt = await provider.delete(instance.id)
        except NotFound:
            return
        except ProviderError as error:
            log.warning("orphan_delete_failed", instance=instance.id, error=str(error))
        await self._write_down(provider, instance, receipt)

    async def _write_down(self, provider: Provider, instance: Instance, receipt: Receipt | None) -> None:
        """What it costs, by its provider's records or else until now. Each look writes it anew, until it is gone."""
        store = self.leases.store
        tagged = instance.tag.removeprefix(self.leases.deployment.tag(""))
        known = await store.known_instances(provider.name)
        worker = await store.get_worker(known.get(instance.id, tagged))
        if worker is None:
            await store.record_lease(self._lease(f"orphan-{instance.id}", provider, instance, receipt))
        elif receipt is not None:
            await store.note_receipt(worker.id, receipt)
        elif worker.lease_from is None:
            await store.record_lease(self._lease(worker.id, provider, instance, None))

    def _lease(
        self, worker_id: str, provider: Provider, instance: Instance, receipt: Receipt | None
    ) -> Lease:
        now = self.leases.clock.now()
        return Lease(
            worker_id=worker_id,
            provider=provider.name,
            gpu_class=instance.gpu_class,
            usd_per_hour=self.leases.market.usd_per_hour(provider.name, instance.gpu_class),
            started_at=receipt.started_at if receipt else instance.created_at or now,
            ended_at=receipt.ended_at if receipt else now,
            granularity_s=1.0,
            min_billed_s=0.0,
            busy_s=0.0,
            billed_s=receipt.billed_s if receipt else None,
            instance_id=instance.id,
        )

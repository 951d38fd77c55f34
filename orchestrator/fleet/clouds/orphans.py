"""Instances of ours that no live row wants: in the ledger at first sight, then deleted, at every look until gone.

An open lease without a live row is the memory that something is still to be ended and paid; it survives a restart.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import structlog

from orchestrator.fleet.clouds.leases import Leases
from orchestrator.store.rows import Lease
from provider_clients.base import Instance, Provider
from provider_clients.errors import NotFound, ProviderError
from scaling.states import WorkerState

log = structlog.get_logger()


@dataclass(slots=True)
class Orphans:
    """One is seen twice before it is ended. The grace counts from an instance's creation where that is known, so that
    no restart begins it anew.
    """

    leases: Leases
    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    async def sweep(self, provider: Provider, found: Iterable[Instance], grace_s: float) -> None:
        now = self.leases.clock.now()
        seen = {(provider.name, one.id): one for one in found}
        self._since = {key: at for key, at in self._since.items() if key in seen or key[0] != provider.name}
        for key, instance in seen.items():
            lease = await self._open(provider, instance)
            again = key in self._since
            first_seen = self._since.setdefault(key, now)
            if again and now - min(first_seen, instance.created_at or now) >= grace_s:
                log.warning("orphan_deleted", provider=provider.name, instance=instance.id)
                await self._settle(provider, await self._reopen(lease))
        for lease in await self._left_open(provider):
            if (provider.name, lease.instance_id) not in seen:
                await self._settle(provider, lease)

    async def _open(self, provider: Provider, instance: Instance) -> Lease:
        """Its lease: that of the row that lost it, or else one of its own, written before anything is asked."""
        store = self.leases.store
        tagged = instance.tag.removeprefix(self.leases.deployment.tag(""))
        known = await store.known_instances(provider.name)
        worker = await store.get_worker(known.get(instance.id, tagged))
        worker_id = worker.id if worker else f"orphan-{instance.id}"
        if written := await store.get_lease(worker_id):
            return replace(written, instance_id=instance.id)
        lease = self._lease(worker_id, provider, instance)
        await store.record_lease(lease)
        return lease

    async def _reopen(self, lease: Lease) -> Lease:
        """What lives on after its lease was closed is paid on: the end that we knew was none."""
        if lease.ended_at is None:
            return lease
        lease = replace(lease, ended_at=None, billed_s=None)
        await self.leases.store.record_lease(lease)
        return lease

    async def _left_open(self, provider: Provider) -> list[Lease]:
        """Leases without an end whose rows are gone: what was deleted, and whose bill we did not hear."""
        store = self.leases.store
        workers = await store.list_workers(include_gone=False, limit=10_000)
        alive = {one.id for one in workers if one.state is not WorkerState.GONE}
        unended = [
            one for one in await store.list_leases(since=self.leases.clock.now()) if one.ended_at is None
        ]
        return [one for one in unended if one.provider == provider.name and one.worker_id not in alive]

    async def _settle(self, provider: Provider, lease: Lease) -> None:
        """Deletes once more. The provider's receipt ends the lease, or else that it knows of no such instance."""
        store, ended = self.leases.store, lease
        try:
            if receipt := await provider.delete(lease.instance_id or ""):
                ended = replace(
                    lease,
                    started_at=receipt.started_at,
                    ended_at=receipt.ended_at,
                    billed_s=receipt.billed_s,
                )
        except NotFound:
            ended = replace(lease, ended_at=self.leases.clock.now())
        except ProviderError as error:
            log.warning("orphan_delete_failed", instance=lease.instance_id, error=str(error))
        if ended != lease:
            await store.record_lease(ended)

    def _lease(self, worker_id: str, provider: Provider, instance: Instance) -> Lease:
        """Where boot is not billed, nobody knows yet since when it is: from now on, until its provider says."""
        now = self.leases.clock.now()
        offer = self.leases.market.offer(provider.name, instance.gpu_class)
        boot_billed = offer is None or offer.boot_billed
        return Lease(
            worker_id=worker_id,
            provider=provider.name,
            gpu_class=instance.gpu_class,
            usd_per_hour=offer.usd_per_hour if offer else 0.0,
            started_at=instance.created_at if boot_billed and instance.created_at is not None else now,
            ended_at=None,
            granularity_s=offer.granularity_s if offer else 1.0,
            min_billed_s=offer.min_billed_s if offer else 0.0,
            busy_s=0.0,
            instance_id=instance.id,
        )

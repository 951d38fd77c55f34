"""The model's leases: begun, ended, voided, and corrected by what the provider says that it billed."""

from dataclasses import replace

from orchestrator.store.memory.world import Model
from orchestrator.store.rows import Lease, Worker
from provider_clients.base import Receipt


class LeaseVerbs(Model):
    async def list_leases(self, *, since: float) -> list[Lease]:
        found = [one for one in self.world.leases.values() if one.ended_at is None or one.ended_at > since]
        return sorted(found, key=lambda one: (one.started_at, one.worker_id))

    async def get_lease(self, worker_id: str) -> Lease | None:
        return self.world.leases.get(worker_id)

    async def note_receipt(self, worker_id: str, receipt: Receipt) -> None:
        self.start_lease(worker_id, receipt.started_at)
        if lease := self.world.leases.get(worker_id):
            self.world.leases[worker_id] = replace(
                lease, started_at=receipt.started_at, ended_at=receipt.ended_at, billed_s=receipt.billed_s
            )

    async def record_lease(self, lease: Lease) -> None:
        self.world.leases[lease.worker_id] = lease

    def start_lease(self, worker_id: str, at: float) -> None:
        """One for a worker. What its owner lends us has none."""
        worker = self.world.workers.get(worker_id)
        if worker is None or worker.owned or worker_id in self.world.leases:
            return
        self.world.leases[worker_id] = Lease(
            worker_id=worker_id,
            provider=worker.provider,
            gpu_class=worker.gpu_class,
            usd_per_hour=worker.usd_per_hour,
            started_at=at,
            ended_at=None,
            granularity_s=worker.granularity_s,
            min_billed_s=worker.min_billed_s,
            busy_s=0.0,
            instance_id=worker.instance_id,
        )

    def end_lease(self, worker: Worker, now: float, *, never_made: bool) -> None:
        """What was never made was never billed, and leaves no lease. One that has ended stays."""
        lease = self.world.leases.get(worker.id)
        if lease is None or lease.ended_at is not None:
            return
        if never_made:
            del self.world.leases[worker.id]
        else:
            self.world.leases[worker.id] = replace(lease, ended_at=now)

    def name_instance(self, worker_id: str, instance_id: str) -> None:
        if lease := self.world.leases.get(worker_id):
            self.world.leases[worker_id] = replace(lease, instance_id=instance_id)

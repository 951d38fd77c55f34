"""What plans and pages read of the model: waiting groups, workers, running attempts, and what was learned."""

from dataclasses import replace

from orchestrator.store import rules
from orchestrator.store.memory.world import Model
from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.rows import Attempt, BootTime, Fleet, Job, QueuedGroup, ServiceTime, Worker
from scaling.snapshot import Need
from scaling.states import JobState, WorkerState


class FleetVerbs(Model):
    async def get_worker(self, worker_id: str) -> Worker | None:
        worker = self.world.workers.get(worker_id)
        return self._with_lease(worker) if worker is not None else None

    async def list_workers(self, *, include_gone: bool, limit: int) -> list[Worker]:
        shown = [
            self._with_lease(one)
            for one in self.world.workers.values()
            if include_gone or one.state is not WorkerState.GONE
        ]
        return sorted(shown, key=lambda one: (one.intended_at, one.id), reverse=True)[:limit]

    async def list_worker_attempts(self, worker_id: str) -> list[Attempt]:
        return [one for one in self.world.attempts.values() if one.worker_id == worker_id]

    async def known_instances(self, provider: str) -> dict[str, str]:
        ours = [one for one in self.world.workers.values() if one.provider == provider]
        ours.sort(key=lambda one: (one.intended_at, one.id))
        return {one.instance_id: one.id for one in ours if one.instance_id is not None}

    async def read_fleet(self) -> Fleet:
        service = self.world.service.items()
        boot = self.world.boot.items()
        load = self.world.load.items()
        return Fleet(
            groups=self._groups(),
            workers=tuple(
                reversed(await self.list_workers(include_gone=False, limit=len(self.world.workers)))
            ),
            attempts=tuple((one, self.world.jobs[one.job_id]) for one in self.running()),
            service=tuple(ServiceTime(*kind, tuple(times)) for kind, times in sorted(service)),
            boot=tuple(BootTime(*kind, tuple(times)) for kind, times in sorted(boot)),
            load=tuple(ServiceTime(*kind, tuple(times)) for kind, times in sorted(load)),
            arrived=self.world.jobs_made,
        )

    def _with_lease(self, worker: Worker) -> Worker:
        lease = self.world.leases.get(worker.id)
        if lease is None:
            return worker
        return replace(worker, lease_from=lease.started_at, lease_until=lease.ended_at)

    def _groups(self) -> tuple[QueuedGroup, ...]:
        waiting: dict[Need, list[Job]] = {}
        for job in self.world.jobs.values():
            if job.state is JobState.QUEUED:
                waiting.setdefault(job.need, []).append(job)
        groups = [_group(need, jobs) for need, jobs in waiting.items()]
        return tuple(sorted(groups, key=lambda one: (one.oldest_at, self.world.groups[one.need])))


def _group(need: Need, jobs: list[Job]) -> QueuedGroup:
    counted = sorted(job.created_at for job in jobs)[:GROUP_COUNT_MAX]
    return QueuedGroup(
        need=need,
        count=len(counted),
        oldest_at=counted[0],
        must_start_by=min(map(rules.must_start_by, jobs)),
        since=tuple(counted[rank] for rank in rules.even_ranks(len(counted))),
    )

"""The model's workers: intended, moved, registered, heard from; and the fleet as plans see it."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.store import moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.memory.world import Model
from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.rows import (
    Beat,
    BootTime,
    Fleet,
    Job,
    Lease,
    NewWorker,
    QueuedGroup,
    Registration,
    ServiceTime,
    Worker,
    WorkerMove,
)
from scaling.snapshot import Need
from scaling.states import WORKER_MOVES, JobState, WorkerState, advance


class WorkerVerbs(Model):
    async def intend_worker(self, worker: NewWorker) -> None:
        if worker.id in self.world.workers:
            raise Duplicate("a worker with this id is there already")
        self.world.workers[worker.id] = _intended(worker)
        self.world.offered_class[worker.id] = worker.gpu_class
        self.record(moves.intended(worker))

    async def move_worker(self, worker_id: str, move: WorkerMove, *, now: float) -> bool:
        for before in move.expected:
            advance(WORKER_MOVES, before, move.to)
        worker = self.world.workers.get(worker_id)
        if worker is None or worker.state not in move.expected:
            return False
        self._move(worker, move, now)
        return True

    async def note_instance(self, worker_id: str, instance_id: str, *, lease_ends_at: float | None) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None and worker.state is not WorkerState.GONE:
            ends_at = worker.lease_ends_at if lease_ends_at is None else lease_ends_at
            self._put(replace(worker, instance_id=instance_id, lease_ends_at=ends_at))

    async def register_worker(self, worker_id: str, registration: Registration, *, now: float) -> bool:
        worker = self.world.workers.get(worker_id)
        if worker is None:
            return False
        booting = WorkerState.READY in WORKER_MOVES[worker.state]
        if not booting and worker.state not in rules.SERVING:
            return False
        if booting:
            who = moves.of_worker(worker_id)
            self._move(worker, WorkerMove(WorkerState.READY, (worker.state,), who, "registered"), now)
        if worker.incarnation != registration.incarnation:
            self._restart(worker_id, now, again=not booting)
        self._put(
            replace(
                self.world.workers[worker_id],
                incarnation=registration.incarnation,
                capabilities=registration.capabilities,
                gpu_class=registration.gpu_class,
                vram_gb=registration.vram_gb,
                capacity=registration.capacity,
                heartbeat_at=now,
            )
        )
        return True

    async def record_beats(self, beats: Sequence[Beat]) -> dict[str, bool]:
        return {beat.worker_id: self._beat(beat) for beat in beats}

    async def note_claim(self, worker_id: str, *, now: float) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None:
            self._put(replace(worker, claim_at=now))

    async def pause_worker(self, worker_id: str, *, paused: bool, who: str, now: float) -> bool:
        worker = self.world.workers.get(worker_id)
        if worker is None or worker.state is WorkerState.GONE:
            return False
        if worker.paused != paused:
            self._put(replace(worker, paused=paused))
            self.record(moves.paused(worker_id, on=paused, who=who, now=now))
        return True

    async def note_probe(self, worker_id: str, *, healthy: bool) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None:
            self._put(replace(worker, probe_failures=0 if healthy else worker.probe_failures + 1))

    async def get_worker(self, worker_id: str) -> Worker | None:
        return self.world.workers.get(worker_id)

    async def list_workers(self, *, include_gone: bool, limit: int) -> list[Worker]:
        shown = [
            one for one in self.world.workers.values() if include_gone or one.state is not WorkerState.GONE
        ]
        return sorted(shown, key=lambda one: (one.intended_at, one.id), reverse=True)[:limit]

    async def read_fleet(self) -> Fleet:
        alive = [one for one in self.world.workers.values() if one.state is not WorkerState.GONE]
        service = self.world.service.items()
        boot = self.world.boot.items()
        return Fleet(
            groups=self._groups(),
            workers=tuple(sorted(alive, key=lambda one: (one.intended_at, one.id))),
            attempts=tuple((one, self.world.jobs[one.job_id]) for one in self.running()),
            service=tuple(ServiceTime(*kind, tuple(times)) for kind, times in sorted(service)),
            boot=tuple(BootTime(*kind, tuple(times)) for kind, times in sorted(boot)),
        )

    def _put(self, worker: Worker) -> None:
        self.world.workers[worker.id] = worker

    def _groups(self) -> tuple[QueuedGroup, ...]:
        waiting: dict[Need, list[Job]] = {}
        for job in self.world.jobs.values():
            if job.state is JobState.QUEUED:
                waiting.setdefault(job.need, []).append(job)
        groups = [
            QueuedGroup(
                need=need,
                count=min(len(jobs), GROUP_COUNT_MAX),
                oldest_at=min(job.created_at for job in jobs),
                must_start_by=min(map(rules.must_start_by, jobs)),
            )
            for need, jobs in waiting.items()
        ]
        return tuple(sorted(groups, key=lambda one: (one.oldest_at, self.world.groups[one.need])))

    def _beat(self, beat: Beat) -> bool:
        worker = self.world.workers.get(beat.worker_id)
        if worker is None or worker.state not in rules.SERVING:
            return False
        if beat.incarnation not in (None, worker.incarnation):
            return False
        self._put(replace(worker, heartbeat_at=beat.at, resident=beat.resident, error=beat.error))
        return True

    def _restart(self, worker_id: str, now: float, *, again: bool) -> None:
        """Forgets what the incarnation before said; `again` if it served, and so may have held attempts."""
        worker = self.world.workers[worker_id]
        self._put(replace(worker, claim_at=None, resident=(), error=None, probe_failures=0))
        if again:
            self.lose_all(worker_id, (), "the worker started again", now)
            self.record(moves.restarted(worker, now))

    def _move(self, worker: Worker, move: WorkerMove, now: float) -> None:
        self._put(
            replace(
                worker,
                state=advance(WORKER_MOVES, worker.state, move.to),
                state_at=now,
                ready_at=now if move.to is WorkerState.READY else worker.ready_at,
                instance_id=move.instance_id or worker.instance_id,
                lease_ends_at=worker.lease_ends_at if move.lease_ends_at is None else move.lease_ends_at,
            )
        )
        self.record(moves.worker_moved(worker, move, now))
        match move.to:
            case WorkerState.CREATING:
                self.world.creating_at[worker.id] = now
                if worker.boot_billed:
                    self._start_lease(worker.id, now)
            case WorkerState.READY:
                self._start_lease(worker.id, now)
                self._boot_took(worker, now)
            case WorkerState.STOPPING:
                self.lose_all(worker.id, (), move.reason, now)
            case WorkerState.GONE:
                self._end_lease(worker.id, now, never_made=worker.state is WorkerState.CREATING)
            case WorkerState.INTENDED | WorkerState.STARTING | WorkerState.DRAINING:
                pass

    def _start_lease(self, worker_id: str, now: float) -> None:
        if worker_id in self.world.leases:
            return
        worker = self.world.workers[worker_id]
        self.world.leases[worker_id] = Lease(
            worker_id=worker_id,
            provider=worker.provider,
            gpu_class=worker.gpu_class,
            usd_per_hour=worker.usd_per_hour,
            started_at=now,
            ended_at=None,
            granularity_s=worker.granularity_s,
            min_billed_s=worker.min_billed_s,
            busy_s=0.0,
        )
        self._put(replace(worker, lease_from=now))

    def _end_lease(self, worker_id: str, now: float, *, never_made: bool) -> None:
        """A create that the provider refused was never billed, and leaves no lease."""
        worker = self.world.workers[worker_id]
        if worker_id not in self.world.leases:
            return
        if never_made and worker.instance_id is None:
            del self.world.leases[worker_id]
            self._put(replace(worker, lease_from=None))
        else:
            self.world.leases[worker_id] = replace(self.world.leases[worker_id], ended_at=now)
            self._put(replace(worker, lease_until=now))

    def _boot_took(self, worker: Worker, now: float) -> None:
        creating_at = self.world.creating_at.get(worker.id)
        if creating_at is None:
            return
        kind = (worker.provider, self.world.offered_class[worker.id])
        times = self.world.boot.setdefault(kind, [])
        times.insert(0, max(0.0, now - creating_at))
        del times[rules.BOOT_TIMES_MAX :]


def _intended(worker: NewWorker) -> Worker:
    return Worker(
        id=worker.id,
        provider=worker.provider,
        gpu_class=worker.gpu_class,
        state=WorkerState.INTENDED,
        usd_per_hour=worker.usd_per_hour,
        state_at=worker.intended_at,
        intended_at=worker.intended_at,
        buy_at=worker.buy_at,
        key_hash=worker.key_hash,
        boot_billed=worker.boot_billed,
        granularity_s=worker.granularity_s,
        min_billed_s=worker.min_billed_s,
    )

"""The model's workers: intended, enrolled, moved, registered, heard from."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.store import changes, moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.memory.leases import LeaseVerbs
from orchestrator.store.people import By
from orchestrator.store.rows import (
    Beat,
    Enrolment,
    InstanceFacts,
    NewWorker,
    Registration,
    Worker,
    WorkerMove,
)
from scaling.states import WORKER_MOVES, WorkerState, advance


class WorkerVerbs(LeaseVerbs):
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

    async def enrol_worker(self, enrolment: Enrolment) -> bool:
        before = self.world.workers.get(enrolment.id)
        worker = rules.enrolled(enrolment, before)
        if worker is None:
            return False
        self._put(worker)
        self.world.offered_class[worker.id] = worker.gpu_class
        self.record(moves.enrolled(worker, again=before is not None))
        return True

    async def rekey_worker(self, worker_id: str, key_hash: str) -> None:
        if worker := self.world.workers.get(worker_id):
            self._put(replace(worker, key_hash=key_hash))

    async def note_instance(self, worker_id: str, facts: InstanceFacts) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None and worker.state is not WorkerState.GONE:
            self._note_instance(worker, facts)

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
                queues=registration.queues,
                usd_per_hour=rules.price(worker, registration),
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

    async def pause_worker(
        self, worker_id: str, *, paused: bool, who: str, now: float, by: By | None = None
    ) -> bool:
        worker = self.world.workers.get(worker_id)
        if worker is None or worker.state is WorkerState.GONE:
            return False
        if worker.paused != paused:
            self._put(replace(worker, paused=paused))
            self.record(moves.paused(worker_id, on=paused, who=who, now=now))
            self.audit(by, changes.paused(worker_id, now, on=paused))
        return True

    async def note_probe(self, worker_id: str, *, healthy: bool) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None:
            self._put(replace(worker, probe_failures=0 if healthy else worker.probe_failures + 1))

    def _put(self, worker: Worker) -> None:
        self.world.workers[worker.id] = worker

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
        after = replace(
            worker,
            state=advance(WORKER_MOVES, worker.state, move.to),
            state_at=now,
            creating_at=now if move.to is WorkerState.CREATING else worker.creating_at,
            ready_at=now if move.to is WorkerState.READY else worker.ready_at,
        )
        self._put(after)
        if move.instance is not None:
            after = self._note_instance(after, move.instance)
        self.record(moves.worker_moved(worker, move, now))
        match move.to:
            case WorkerState.CREATING:
                if worker.boot_billed:
                    self.start_lease(worker.id, now)
            case WorkerState.READY:
                self.start_lease(worker.id, now)
                self._boot_took(worker, now)
            case WorkerState.STOPPING:
                self.lose_all(worker.id, (), move.reason, now)
            case WorkerState.GONE:
                never_made = after.instance_id is None and worker.ready_at is None
                self.end_lease(worker, now, never_made=never_made)
            case WorkerState.INTENDED | WorkerState.STARTING | WorkerState.DRAINING:
                pass

    def _note_instance(self, worker: Worker, facts: InstanceFacts) -> Worker:
        after = rules.with_instance(worker, facts)
        self._put(after)
        self.name_instance(worker.id, facts.id)
        return after

    def _boot_took(self, worker: Worker, now: float) -> None:
        if worker.creating_at is None:
            return
        kind = (worker.provider, self.world.offered_class[worker.id])
        times = self.world.boot.setdefault(kind, [])
        times.insert(0, max(0.0, now - worker.creating_at))
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

"""The model's attempts: claimed, reported on, finished, lost."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from gpulease.contract.jobs import Fault, Phase, Result
from orchestrator.store import moves, rules
from orchestrator.store.memory.world import Ending, Model
from orchestrator.store.protocol import AHEAD_MAX
from orchestrator.store.rows import Attempt, Claimed, Held, Job, Progress, Verdict, Worker
from scaling.limits import NO_LIMITS, RunningLimits, count, has_room
from scaling.place import NO_HOLDS, Holds, Patience, choose, warm
from scaling.snapshot import Need
from scaling.states import JOB_MOVES, AttemptState, JobState, advance


class AttemptVerbs(Model):
    async def claim_job(  # noqa: PLR0913
        self,
        worker_id: str,
        incarnation: str,
        nonce: str,
        *,
        resident: tuple[str, ...],
        now: float,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> Claimed | None:
        worker = self.world.workers.get(worker_id)
        if worker is None or worker.incarnation != incarnation or worker.state not in rules.SERVING:
            return None
        self.world.workers[worker_id] = replace(worker, claim_at=now)
        for one in self.world.attempts.values():
            if (one.worker_id, one.incarnation, one.nonce) == (worker_id, incarnation, nonce):
                return self._claimed(one) if one.state is AttemptState.RUNNING else None
        held = sum(1 for one in self.running(worker_id) if one.slot_freed_at is None)
        if not rules.may_claim(worker) or held >= worker.capacity:
            return None
        asking = replace(worker, resident=resident)
        job = self._next(asking, now, limits, holds, patience)
        return self._begin(job, asking, nonce, now) if job is not None else None

    async def peek_next(
        self,
        worker_id: str,
        *,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> Job | None:
        worker = self.world.workers.get(worker_id)
        if worker is None or not rules.may_claim(worker):
            return None
        last_seen = max(worker.heartbeat_at or 0.0, worker.claim_at or 0.0)
        return self._next(worker, last_seen, limits, holds, patience)

    async def get_attempt(self, attempt_id: int) -> Claimed | None:
        attempt = self.world.attempts.get(attempt_id)
        return self._claimed(attempt) if attempt is not None else None

    async def report_progress(self, held: Held, progress: Progress, *, now: float) -> Verdict:
        before = self.held(held)
        if before is None or before.state is not AttemptState.RUNNING:
            return Verdict.STALE
        after = rules.absorb(before, progress, now)
        self.world.attempts[after.id] = after
        if after.phase is not before.phase:
            self.record(moves.phase_entered(before, after))
        if after.slot_freed_at is not None and before.slot_freed_at is None:
            self.free_slot(before, now)
        return Verdict.APPLIED

    async def finish_attempt(
        self, held: Held, *, result: Result | None, fault: Fault | None, now: float
    ) -> Verdict:
        said = rules.report_hash(result, fault)
        attempt = self.held(held)
        if attempt is None:
            return Verdict.STALE
        if attempt.state is not AttemptState.RUNNING:
            same = self.world.report_hashes.get(attempt.id) == said
            return Verdict.REPEATED if same else Verdict.STALE
        self.world.report_hashes[attempt.id] = said
        self._count_job(held.worker_id)
        who = moves.of_worker(held.worker_id)
        if fault is not None and fault.kind == "host":
            self.fail_on_host(attempt, AttemptState.FAILED, Ending(JobState.FAILED, who, now, fault), fault)
        elif fault is not None:
            self.end_with_job(attempt, AttemptState.FAILED, Ending(JobState.FAILED, who, now, fault))
        else:
            won = Ending(JobState.SUCCEEDED, who, now, result=result)
            self.end_with_job(attempt, AttemptState.SUCCEEDED, won)
        return Verdict.APPLIED

    async def lose_attempts(
        self, worker_id: str, *, keep: tuple[int, ...], reason: str, now: float
    ) -> list[str]:
        return self.lose_all(worker_id, keep, reason, now)

    async def lose_attempt(self, attempt_id: int, *, reason: str, now: float) -> Job | None:
        attempt = self.world.attempts.get(attempt_id)
        if attempt is None or attempt.state is not AttemptState.RUNNING:
            return None
        return self.lose(attempt, reason, now)

    def _claimed(self, attempt: Attempt) -> Claimed:
        return Claimed(self.world.jobs[attempt.job_id], attempt)

    def _count_job(self, worker_id: str) -> None:
        worker = self.world.workers.get(worker_id)
        if worker is not None:
            self.world.workers[worker_id] = replace(worker, jobs_done=worker.jobs_done + 1)

    def _next(
        self, worker: Worker, now: float, limits: RunningLimits, holds: Holds, patience: Patience | None
    ) -> Job | None:
        heads = self._heads(now, worker, patience)
        waiting = Counter(job.need for job in self._may_begin(now)) if holds else Counter[Need]()
        running = count((self.world.jobs[one.job_id].need, 1) for one in self.running())
        need = choose(
            [
                rules.candidate(job.need, job.created_at, rules.must_start_by(job), now, waiting[job.need])
                for job in sorted(heads.values(), key=lambda job: job.created_at)
                if has_room(job.need, limits, running)
            ],
            rules.host(worker, now),
            host_id=worker.id,
            resident=worker.resident,
            running_by_owner=running.owners,
            holds=holds,
            patience=patience,
        )
        return heads[need] if need is not None else None

    def _may_begin(self, now: float) -> Iterator[Job]:
        jobs = self.world.jobs.values()
        return (one for one in jobs if one.state is JobState.QUEUED and rules.must_start_by(one) > now)

    def _heads(self, now: float, worker: Worker, patience: Patience | None) -> dict[Need, Job]:
        """The next job of each need on this worker; equals in the order in which they came."""
        groups = defaultdict[Need, list[Job]](list)
        for job in self._may_begin(now):
            groups[job.need].append(job)
        heads = {need: _next_of(jobs, now, patience, worker) for need, jobs in groups.items()}
        order = {job_id: place for place, job_id in enumerate(self.world.jobs)}
        return dict(sorted(heads.items(), key=lambda pair: order[pair[1].id]))

    def _begin(self, job: Job, worker: Worker, nonce: str, now: float) -> Claimed:
        self.world.attempts_made += 1
        attempt = Attempt(
            id=self.world.attempts_made,
            job_id=job.id,
            number=job.attempts + 1,
            worker_id=worker.id,
            incarnation=worker.incarnation or "",
            nonce=nonce,
            state=AttemptState.RUNNING,
            phase=Phase.PREPARING,
            progress=0.0,
            started_at=now,
            reported_at=now,
            loads=not warm(job.need, worker.resident),
        )
        after = replace(
            job,
            state=advance(JOB_MOVES, job.state, JobState.RUNNING),
            attempt_id=attempt.id,
            attempts=attempt.number,
            started_at=now if job.started_at is None else job.started_at,
        )
        self.world.attempts[attempt.id] = attempt
        self.world.jobs[job.id] = after
        self.record(moves.claimed(after, attempt))
        return Claimed(after, attempt)


def _next_of(jobs: list[Job], now: float, patience: Patience | None, worker: Worker) -> Job:
    """Of those that are alike, what must start first, unless it is passed over for one that is in time, or not for a
    machine that may be taken away.
    """
    head = min(jobs, key=_first)
    if patience is None:
        return head
    need, patience = head.need, patience.of(head.need)
    age_s, slack_s = now - head.created_at, rules.must_start_by(head) - now
    stay = patience.barred(need, rules.host(worker, now))
    if stay is not None and stay.bars(slack_s):
        others = [one for one in jobs if rules.must_start_by(one) - now >= stay.most_s]
        return min(others, key=_first, default=head)
    is_warm, urgent_s = warm(need, worker.resident), patience.urgent_s(need)
    if not patience.passes_over(age_s, slack_s, is_warm=is_warm, urgent_s=urgent_s):
        return head
    since = now - patience.late_s(is_warm=is_warm)
    in_time = [one for one in jobs if one.created_at >= since]
    ahead = (one for one in heapq.nsmallest(AHEAD_MAX, jobs, key=_first) if one.created_at >= since)
    return next(ahead, min(in_time, key=lambda one: one.created_at, default=head))


def _first(job: Job) -> tuple[float, float]:
    return (rules.must_start_by(job), job.created_at)

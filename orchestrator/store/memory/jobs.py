"""The model's jobs: submitted, listed, ended from outside."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.store import changes, moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.memory.world import Ending, Model, Spent
from orchestrator.store.people import By
from orchestrator.store.rows import Attempt, Job, JobFilter, Load, NewJob, Sight, Submitted
from scaling.snapshot import Need
from scaling.states import TERMINAL_JOBS, AttemptState, JobState


class JobVerbs(Model):
    async def submit_jobs(self, jobs: Sequence[NewJob], *, by: By | None = None) -> list[Submitted]:
        ids = [one.id for one in self._fresh(jobs)]
        if len(ids) != len(set(ids)) or self.world.jobs.keys() & set(ids):
            raise Duplicate("a job with this id is there already")
        answers = [self._submit(one) for one in jobs]
        if made := [one.job for one in answers if one.created]:
            self.audit(by, changes.submitted(made))
        return answers

    async def get_job(self, job_id: str) -> Job | None:
        return self.world.jobs.get(job_id)

    async def find_submitted(self, owner: str, idempotency_key: str) -> Job | None:
        made = self.world.by_key.get((owner, idempotency_key))
        return self.world.jobs[made[0]] if made else None

    async def list_jobs(self, which: JobFilter, *, before: tuple[float, str] | None, limit: int) -> list[Job]:
        found = [
            job
            for job in self.world.jobs.values()
            if _matches(job, which) and (before is None or (job.created_at, job.id) < before)
        ]
        return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)[:limit]

    async def list_attempts(self, job_id: str) -> list[Attempt]:
        return self.attempts_of(job_id)

    async def cancel_job(  # noqa: PLR0913
        self,
        job_id: str,
        *,
        who: str,
        reason: str,
        now: float,
        code: str = "cancelled",
        by: By | None = None,
    ) -> Job | None:
        job = self.world.jobs.get(job_id)
        if job is None or job.state in TERMINAL_JOBS:
            return job
        ending = Ending(JobState.CANCELLED, who, now, rules.cancelled(reason, code))
        if job.attempt_id is None:
            after = self.end_job(job, ending)
        else:
            after = self.end_with_job(self.world.attempts[job.attempt_id], AttemptState.CANCELLED, ending)
        self.audit(by, changes.cancelled(job, after, now))
        return after

    async def load_of(self, *, owner: str | None = None, project: str | None = None) -> Load:
        states = Counter(job.state for job in self.world.jobs.values() if _is_of(job.need, owner, project))
        return Load(states[JobState.QUEUED], states[JobState.RUNNING])

    async def spent_by(
        self, *, since: float, now: float, owner: str | None = None, project: str | None = None
    ) -> float:
        held = [one for one in self.running() if one.slot_freed_at is None]
        running = [spent for one in held if (spent := self.spent(one, now))]
        all_of_them = [*self.world.spending, *running]
        return sum((one.usd(since, now) for one in all_of_them if _is_of(one, owner, project)), start=0.0)

    async def end_overdue_jobs(self, *, now: float) -> list[Job]:
        queued = [
            job
            for job in self.world.jobs.values()
            if job.state is JobState.QUEUED and rules.must_start_by(job) <= now
        ]
        queued.sort(key=lambda job: (rules.must_start_by(job), job.created_at))
        ended = [self._expire(job, now) for job in queued[: rules.BATCH_MAX]]
        running = [one for one in self.running() if rules.overdue(self.world.jobs[one.job_id], one, now)]
        room = rules.BATCH_MAX - len(ended)
        return ended + [self._time_out(one, now) for one in running[:room]]

    def _earlier(self, job: NewJob) -> tuple[str, str] | None:
        if job.idempotency_key is None:
            return None
        return self.world.by_key.get((job.need.owner, job.idempotency_key))

    def _fresh(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """Those that no key stands for yet, neither from before nor from earlier in the batch."""
        fresh: list[NewJob] = []
        keys: set[tuple[str, str]] = set()
        for one in jobs:
            key = (one.need.owner, one.idempotency_key) if one.idempotency_key is not None else None
            if key in keys or self._earlier(one) is not None:
                continue
            if key is not None:
                keys.add(key)
            fresh.append(one)
        return fresh

    def _submit(self, asked: NewJob) -> Submitted:
        earlier = self._earlier(asked)
        if earlier is not None:
            job_id, request_hash = earlier
            conflict = request_hash != asked.request_hash
            return Submitted(self.world.jobs[job_id], created=False, conflict=conflict)
        job = rules.new_job(asked)
        self.join_group(job.need)
        self.world.jobs[job.id] = job
        self.world.jobs_made += 1
        if asked.idempotency_key is not None:
            self.world.by_key[asked.need.owner, asked.idempotency_key] = (job.id, asked.request_hash)
        self.record(moves.submitted(job))
        return Submitted(job, created=True)

    def _expire(self, job: Job, now: float) -> Job:
        ending = Ending(JobState.EXPIRED, moves.US, now, rules.expired(job, now))
        return self.end_job(job, ending)

    def _time_out(self, attempt: Attempt, now: float) -> Job:
        fault = rules.timed_out(self.world.jobs[attempt.job_id], now)
        ending = Ending(JobState.TIMED_OUT, moves.US, now, fault)
        return self.end_with_job(attempt, AttemptState.TIMED_OUT, ending)


def _is_of(it: Need | Spent, owner: str | None, project: str | None) -> bool:
    return it.owner == owner if project is None else bool(project) and it.project == project


def _matches(job: Job, which: JobFilter) -> bool:
    return (
        which.state in (None, job.state)
        and which.engine in (None, job.need.engine)
        and which.owner in (None, job.need.owner)
        and (which.created_after is None or job.created_at > which.created_after)
        and (which.project is None or (bool(which.project) and which.project == job.need.project))
        and (which.seen_by is None or _is_seen(job.need, which.seen_by))
    )


def _is_seen(need: Need, sight: Sight) -> bool:
    return need.owner == sight.owner or (bool(need.project) and need.project in sight.projects)

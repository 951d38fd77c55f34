"""All that the model remembers, and the moves that several verbs share."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gpulease.contract.jobs import Fault, Phase, Result
from orchestrator.store import moves, people, rules
from orchestrator.store.changes import Change
from orchestrator.store.past import PlanRow
from orchestrator.store.rows import (
    Attempt,
    Delivery,
    DeliveryTry,
    Event,
    Held,
    HostFault,
    Job,
    Lease,
    Worker,
)
from scaling.snapshot import Need
from scaling.states import ATTEMPT_MOVES, JOB_MOVES, AttemptState, JobState, advance


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends, at whose word, and after which attempt, if it was running."""

    state: JobState
    who: str
    at: float
    fault: Fault | None = None
    result: Result | None = None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt cost while it held its slot."""

    owner: str
    project: str
    held_from: float
    held_until: float
    usd_per_hour: float

    def usd(self, since: float, now: float) -> float:
        held_s = min(self.held_until, now) - max(self.held_from, since)
        return max(0.0, held_s) * self.usd_per_hour / 3600


@dataclass(slots=True)
class World:
    """Dictionaries keep the order in which their rows were made, as the database's keys do."""

    jobs: dict[str, Job] = field(default_factory=dict)
    jobs_made: int = 0
    groups: dict[Need, int] = field(default_factory=dict)
    groups_made: int = 0
    by_key: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(owner, idempotency key) → (job id, request hash)."""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    report_hashes: dict[int, str] = field(default_factory=dict)
    attempts_made: int = 0
    workers: dict[str, Worker] = field(default_factory=dict)
    offered_class: dict[str, str] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    host_faults: dict[tuple[str, str], HostFault] = field(default_factory=dict)
    """By worker and reason."""
    events: list[Event] = field(default_factory=list)
    events_made: int = 0
    service: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    boot: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    load: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    deliveries_made: int = 0
    tries: dict[int, list[DeliveryTry]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    plans: list[PlanRow] = field(default_factory=list)
    plans_made: int = 0
    spending: list[Spent] = field(default_factory=list)
    users: dict[str, people.User] = field(default_factory=lambda: {people.ANONYMOUS.id: people.ANONYMOUS})
    subscriptions: dict[int, people.Subscription] = field(
        default_factory=lambda: {1: people.Subscription(1, "Default")}
    )
    keys: dict[str, people.ApiKey] = field(default_factory=dict)
    projects: dict[str, people.Project] = field(default_factory=dict)
    members: dict[tuple[str, str], people.Member] = field(default_factory=dict)
    aliases: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """(surface, kind) → numbers by target."""
    aliases_made: dict[tuple[str, str], int] = field(default_factory=dict)
    uploads: dict[str, people.Upload] = field(default_factory=dict)
    assets: dict[str, people.Asset] = field(default_factory=dict)
    asset_versions: dict[str, list[people.AssetVersion]] = field(default_factory=dict)
    audit: list[people.Audit] = field(default_factory=list)
    audit_made: int = 0


class Model:
    """What the verbs stand on."""

    def __init__(self) -> None:
        self.world = World()

    async def aclose(self) -> None:
        """Nothing is open."""

    def record(self, event: Event) -> None:
        world = self.world
        world.events_made += 1
        seq = 0
        if event.job_id is not None:
            seq = 1 + sum(1 for one in world.events if one.job_id == event.job_id)
        world.events.append(replace(event, id=world.events_made, seq=seq))

    def audit(self, by: people.By | None, change: Change) -> None:
        """Nothing where nobody asked for it."""
        if by is None:
            return
        self.world.audit_made += 1
        self.world.audit.append(change.by(by, self.world.audit_made))

    def spent(self, attempt: Attempt, until: float) -> Spent | None:
        worker = self.world.workers.get(attempt.worker_id)
        if worker is None:
            return None
        need = self.world.jobs[attempt.job_id].need
        return Spent(need.owner, need.project, attempt.started_at, until, worker.usd_per_hour)

    def join_group(self, need: Need) -> None:
        if need not in self.world.groups:
            self.world.groups_made += 1
            self.world.groups[need] = self.world.groups_made

    def running(self, worker_id: str | None = None) -> list[Attempt]:
        return [
            one
            for one in self.world.attempts.values()
            if one.state is AttemptState.RUNNING and worker_id in (None, one.worker_id)
        ]

    def attempts_of(self, job_id: str) -> list[Attempt]:
        return [one for one in self.world.attempts.values() if one.job_id == job_id]

    def held(self, held: Held) -> Attempt | None:
        attempt = self.world.attempts.get(held.attempt_id)
        mine = attempt is not None and (attempt.worker_id, attempt.incarnation) == (
            held.worker_id,
            held.incarnation,
        )
        return attempt if mine else None

    def end_job(self, job: Job, ending: Ending) -> Job:
        after = replace(
            job,
            state=advance(JOB_MOVES, job.state, ending.state),
            finished_at=ending.at,
            attempt_id=ending.attempt.id if ending.attempt and ending.result else None,
            result=ending.result,
            fault=ending.fault,
        )
        self.world.jobs[job.id] = after
        self.record(moves.job_moved(job, after, ending.attempt, who=ending.who, at=ending.at))
        if job.notify_url:
            self.world.deliveries_made += 1
            number = self.world.deliveries_made
            self.world.deliveries[number] = Delivery(
                number, job.id, job.notify_url, 0, ending.at, owner=job.need.owner, created_at=ending.at
            )
        return after

    def requeue(self, job: Job, ending: Ending, attempt: Attempt) -> Job:
        need = rules.avoiding(job.need, attempt.worker_id)
        self.join_group(need)
        state = advance(JOB_MOVES, job.state, JobState.QUEUED)
        after = replace(job, state=state, attempt_id=None, need=need)
        self.world.jobs[job.id] = after
        told = replace(after, fault=ending.fault)
        self.record(moves.job_moved(job, told, attempt, who=ending.who, at=ending.at))
        return after

    def end_with_job(self, attempt: Attempt, state: AttemptState, ending: Ending) -> Job:
        """Ends a running attempt, and its job with it."""
        job = self.world.jobs[attempt.job_id]
        ended = self._end_attempt(attempt, state, ending)
        if state is AttemptState.SUCCEEDED:
            self._service_took(job.need, ended, ending.result)
        return self.end_job(job, replace(ending, attempt=ended))

    def fail_on_host(self, attempt: Attempt, state: AttemptState, ending: Ending, fault: Fault) -> Job:
        """Ends an attempt whose machine failed it; its job runs again elsewhere while that is allowed."""
        job = self.world.jobs[attempt.job_id]
        ended = self._end_attempt(attempt, state, ending)
        earlier = [
            one
            for one in self.attempts_of(job.id)
            if one.id != attempt.id and one.worker_id != attempt.worker_id
        ]
        if rules.after_host_fault(job, fault, earlier, ending.at) is JobState.QUEUED:
            return self.requeue(job, ending, ended)
        return self.end_job(job, replace(ending, attempt=ended))

    def lose(self, attempt: Attempt, reason: str, now: float) -> Job:
        fault = rules.lost(reason)
        ending = Ending(JobState.FAILED, moves.US, now, fault)
        return self.fail_on_host(attempt, AttemptState.LOST, ending, fault)

    def lose_all(self, worker_id: str, keep: Iterable[int], reason: str, now: float) -> list[str]:
        kept = set(keep)
        return [self.lose(one, reason, now).id for one in self.running(worker_id) if one.id not in kept]

    def free_slot(self, attempt: Attempt, now: float) -> None:
        """Counts what it was busy for, if it still held its slot, and marks the worker's last finish."""
        lease = self.world.leases.get(attempt.worker_id)
        if lease is not None and attempt.slot_freed_at is None:
            busy_s = lease.busy_s + rules.slot_s(attempt, now)
            self.world.leases[attempt.worker_id] = replace(lease, busy_s=busy_s)
        if attempt.slot_freed_at is None and (spent := self.spent(attempt, now)):
            self.world.spending.append(spent)
        worker = self.world.workers.get(attempt.worker_id)
        if worker is not None:
            self.world.workers[worker.id] = replace(worker, last_finish_at=now)

    def _end_attempt(self, before: Attempt, state: AttemptState, ending: Ending) -> Attempt:
        won = state is AttemptState.SUCCEEDED
        after = replace(
            before,
            state=advance(ATTEMPT_MOVES, before.state, state),
            ended_at=ending.at,
            fault=ending.fault,
            phase=Phase.COMPLETED if won else before.phase,
            progress=1.0 if won else before.progress,
        )
        self.world.attempts[after.id] = after
        self.free_slot(before, ending.at)
        return after

    def _service_took(self, need: Need, attempt: Attempt, result: Result | None) -> None:
        worker = self.world.workers.get(attempt.worker_id)
        if worker is None:
            return
        kind = (need.engine, need.model or "", worker.gpu_class)
        seconds = rules.slot_s(attempt, attempt.ended_at or attempt.reported_at)
        load_s = rules.load_s(result, seconds)
        _learn(self.world.service.setdefault(kind, []), seconds - (load_s or 0.0), rules.SERVICE_TIMES_MAX)
        if load_s is not None:
            _learn(self.world.load.setdefault(kind, []), load_s, rules.LOAD_TIMES_MAX)


def _learn(times: list[float], seconds: float, most: int) -> None:
    """The newest first."""
    times.insert(0, seconds)
    del times[most:]

"""The rows that store verbs take and give: frozen, and free of any database. Times are epoch seconds."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from gpulease.contract.jobs import Fault, Phase, Result
from scaling.snapshot import Capability, Need
from scaling.states import AttemptState, JobState, WorkerState


@dataclass(frozen=True, slots=True)
class NewJob:
    """A checked request. `idempotency_key` is unique within its owner; `request_hash` tells a reuse of it apart."""

    id: str
    need: Need
    input: dict[str, Any]
    created_at: float
    complete_by: float
    max_time_s: float
    retries: int = 2
    start_by: float | None = None
    notify_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    request_hash: str = ""
    retry_of: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. `attempt_id` is the running attempt's, and the winner's once it has succeeded."""

    id: str
    need: Need
    input: dict[str, Any]
    state: JobState
    created_at: float
    complete_by: float
    max_time_s: float
    retries: int
    start_by: float | None = None
    notify_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    retry_of: str | None = None
    attempt_id: int | None = None
    attempts: int = 0
    """How many were begun."""
    started_at: float | None = None
    """Of the first attempt."""
    finished_at: float | None = None
    result: Result | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. `id` is unique over all jobs, `number` counts from 1 within the job."""

    id: int
    job_id: str
    number: int
    worker_id: str
    incarnation: str
    nonce: str
    state: AttemptState
    phase: Phase
    progress: float
    started_at: float
    reported_at: float
    """The last report of progress, for stalls."""
    message: str | None = None
    slot_freed_at: float | None = None
    ended_at: float | None = None
    fault: Fault | None = None
    loads: bool = False
    """Its worker had not its model in memory when it claimed."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False when the idempotency key was known; `conflict`, when it stood for another request."""

    job: Job
    created: bool
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    job: Job
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Held:
    """Whose report it is: the guard of every move of an attempt."""

    attempt_id: int
    worker_id: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase
    progress: float
    message: str | None = None


class Verdict(Enum):
    """What became of a report: done, done before with the same words, or too late."""

    APPLIED = "applied"
    REPEATED = "repeated"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class NewWorker:
    """An intent. Its id is the tag's last part; `key_hash` is the SHA-256 of the key that its agent will use."""

    id: str
    provider: str
    gpu_class: str
    usd_per_hour: float
    intended_at: float
    buy_at: float
    key_hash: str
    reason: str
    boot_billed: bool = True
    granularity_s: float = 1.0
    min_billed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An owner's machine that reports for duty by itself: never bought, and never deleted."""

    id: str
    provider: str
    key_hash: str
    at: float
    gpu_class: str = "cpu"
    usd_per_hour: float = 0.0
    """What its owner asks, for the time in which it works."""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What the provider said of a worker's instance; None leaves what is known."""

    id: str
    lease_ends_at: float | None = None
    address: str | None = None
    host_id: str | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    id: str
    provider: str
    gpu_class: str
    state: WorkerState
    usd_per_hour: float
    state_at: float
    """When it entered its state."""
    intended_at: float
    buy_at: float
    key_hash: str
    boot_billed: bool = True
    granularity_s: float = 1.0
    min_billed_s: float = 0.0
    instance_id: str | None = None
    incarnation: str | None = None
    capacity: int = 1
    vram_gb: float = 0.0
    capabilities: tuple[Capability, ...] = ()
    resident: tuple[str, ...] = ()
    heartbeat_at: float | None = None
    claim_at: float | None = None
    ready_at: float | None = None
    last_finish_at: float | None = None
    jobs_done: int = 0
    lease_from: float | None = None
    lease_until: float | None = None
    """When the provider confirmed the end; None while it may still be billed."""
    lease_ends_at: float | None = None
    """A hard end that the provider set, if it did."""
    paused: bool = False
    probe_failures: int = 0
    error: str | None = None
    creating_at: float | None = None
    """When its creation was begun."""
    address: str | None = None
    host_id: str | None = None
    owned: bool = False
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerMove:
    """A guarded move: it happens only from one of `expected`."""

    to: WorkerState
    expected: tuple[WorkerState, ...]
    who: str
    reason: str
    instance: InstanceFacts | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What a starting agent says of itself."""

    incarnation: str
    capabilities: tuple[Capability, ...]
    gpu_class: str
    vram_gb: float
    capacity: int
    usd_per_hour: float | None = None
    """What its owner asks; of no account where the provider set the price."""
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat, folded into a batch. `held` lists the attempts that the worker says it holds."""

    worker_id: str
    incarnation: str | None
    at: float
    resident: tuple[str, ...] = ()
    error: str | None = None
    held: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One move. `id` is the order of all moves; `seq` counts from 1 within the job (0 where there is none)."""

    id: int
    at: float
    kind: str
    who: str
    job_id: str | None = None
    worker_id: str | None = None
    seq: int = 0
    before: str | None = None
    after: str | None = None
    reason: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueuedGroup:
    """Jobs of one need that wait. `count` stops at a bound; `must_start_by` is the tightest.

    `since` says when they came, oldest first: all up to `AGES_MAX`, and of more those at even ranks among the counted.
    """

    need: Need
    count: int
    oldest_at: float
    must_start_by: float
    since: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Seconds that winning attempts took without loading a model, or loaded one; newest first, by what decides it."""

    engine: str
    model: str
    gpu_class: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BootTime:
    provider: str
    gpu_class: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that a plan is made from, read in one transaction. `attempts` are the running ones; `arrived` counts all
    jobs that were ever made, those that are forgotten too.
    """

    groups: tuple[QueuedGroup, ...]
    workers: tuple[Worker, ...]
    attempts: tuple[tuple[Attempt, Job], ...]
    service: tuple[ServiceTime, ...]
    boot: tuple[BootTime, ...]
    load: tuple[ServiceTime, ...] = ()
    arrived: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A paid interval of an instance; `ended_at` is None while it may still be billed."""

    worker_id: str
    provider: str
    gpu_class: str
    usd_per_hour: float
    started_at: float
    ended_at: float | None
    granularity_s: float
    min_billed_s: float
    busy_s: float
    """Seconds within it in which an attempt held a slot (summed over slots)."""
    billed_s: float | None = None
    """What the provider's own records say it billed, where they do; it is final."""
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class HostFault:
    """A physical machine failed a worker of ours; `at` lets it be forgiven."""

    provider: str
    host_id: str
    worker_id: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that is due or was tried. `tries` counts what was sent already."""

    id: int
    job_id: str
    url: str
    tries: int
    due_at: float
    done_at: float | None = None
    last_error: str | None = None
    """None on one that is done: it arrived. Otherwise it was given up."""
    owner: str = ""
    """Whose job it tells of, and so whose secret signs it."""
    created_at: float = 0.0
    held_since: float | None = None
    """Since when it is put off for a reason, without an answer in between."""


class DeliveryState(StrEnum):
    """`failed` was given up."""

    PENDING = "pending"
    ARRIVED = "arrived"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeliveryTry:
    at: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a listing shows; None means all. `seen_by` leaves what that user owns and what is of those projects."""

    state: JobState | None = None
    engine: str | None = None
    owner: str | None = None
    created_after: float | None = None
    project: str | None = None
    seen_by: "Sight | None" = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose jobs somebody may see: their own, and those of the projects that they are in."""

    owner: str
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What an owner or a project has in hand: jobs that wait, jobs that run."""

    queued: int
    running: int


@dataclass(frozen=True, slots=True)
class Purged:
    """What retention removed, and the storage keys that nothing names any more."""

    keys: tuple[str, ...]
    job_ids: tuple[str, ...]
    workers: int

"""The picture that decisions are made from: frozen, complete, in ages and not in timestamps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scaling.limits import NO_LIMITS, NOTHING_RUNS, RunningCounts, RunningLimits
from scaling.states import WorkerState


@dataclass(frozen=True, slots=True, order=True)
class Capability:
    """An engine that a worker runs, or that a worker leased from an offer would run."""

    engine: str
    backend: str = ""
    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    """Made once: it may name hundreds of models, and is a key in every look."""

    def __post_init__(self) -> None:
        values = (self.engine, self.backend, self.models, self.features)
        object.__setattr__(self, "_hash", hash(values))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Need:
    """What jobs of one group ask of a worker, and how they stand in the queue. Jobs alike share one Need."""

    engine: str
    model: str | None = None
    features: tuple[str, ...] = ()
    queue: str = "default"
    priority: int = 0
    low_priority: bool = False
    gpu_class: str | None = None
    min_vram_gb: float = 0.0
    providers: tuple[str, ...] = ()
    usd_per_hour_max: float | None = None
    owner: str = ""
    project: str = ""
    avoid: tuple[str, ...] = ()
    """Workers on which such a job failed already."""
    max_time_s: float = 1200.0
    """A lease with a hard end takes only jobs that fit in what is left of it."""
    wait_s: float | None = None
    """How long such jobs may wait by their clients' own word; None: as the policy says. See `own_wait_s`."""


AGES_MAX = 32


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Queued jobs that are alike.

    `count` is exact up to a bound of the store's, and "at least" above it. `slack_s` is the tightest time
    left until one of them must start (its `start_within`, or `complete_by`); None: no such limit. `ages_s`
    are the ages of all up to `AGES_MAX`, oldest first, and of more jobs those at even ranks; where it is empty,
    only that of the oldest is known.
    """

    need: Need
    count: int
    oldest_age_s: float = 0.0
    slack_s: float | None = None
    ages_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that holds a slot. `loads`: it began with the load of its model, which `run_s` counts too."""

    engine: str
    model: str | None
    run_s: float
    time_left_s: float
    loads: bool = False
    low_priority: bool = False


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker that is not gone. Ages are in seconds; None means: never yet."""

    id: str
    provider: str
    state: WorkerState
    gpu_class: str = "cpu"
    vram_gb: float = 0.0
    usd_per_hour: float = 0.0
    capacity: int = 1
    capabilities: tuple[Capability, ...] = ()
    resident: tuple[str, ...] = ()
    running: tuple[Running, ...] = ()
    uploading: int = 0
    """Attempts that have freed their slot and still hand in their result: stopping the worker would lose them."""
    state_age_s: float = 0.0
    buy_in_s: float = 0.0
    """For an intent: what is left of its launch delay."""
    idle_s: float | None = None
    """Since the last finish, or since it became ready; None while it runs something."""
    jobs_done: int = 0
    silent_s: float | None = None
    """Since the last heartbeat."""
    claim_silent_s: float | None = None
    """Since a claim was parked; 0 while one is. A machine that only heartbeats is no supply."""
    lease_age_s: float = 0.0
    lease_left_s: float | None = None
    paused: bool = False
    probe_failures: int = 0
    owned: bool = False
    """Its owner's machine (a buffer node, a static render machine): never bought, and never let go by a plan."""
    queues: tuple[str, ...] = ()
    """The queues that it serves; none named, all."""
    hosted: bool = False
    """Its agent runs beside the orchestrator, so that only probes tell of the machine itself."""

    @property
    def free_slots(self) -> int:
        return max(0, self.capacity - len(self.running))

    @property
    def busy(self) -> bool:
        """Whether stopping it would lose an attempt."""
        return bool(self.running) or self.uploading > 0

    @property
    def riding(self) -> bool:
        """Whether all that it runs is of low priority."""
        return bool(self.running) and all(one.low_priority for one in self.running)

    @property
    def spare_s(self) -> float:
        """For how long it has run nothing; where that is not known, for how long it has been as it is."""
        return self.state_age_s if self.idle_s is None else self.idle_s

    @property
    def ordered_s(self) -> float:
        """For how long it has been on order, by whichever record is older."""
        return max(self.lease_age_s, self.state_age_s)


@dataclass(frozen=True, slots=True)
class Offer:
    """For sale. `count_max` is how many more could be leased now; `cooled_s` what is left of a cool-down.

    A lease with a hard end lasts `lease_s_max`; an idle worker older than `replace_after_s` is let go, so that the
    next job finds a fresh lease. `boot_prior` is what the provider is known for, until there is history. Machines of
    one that sells several tiers of a class are told apart by their price. `life_mean_s` is how long one serves in the
    mean until it is taken away; None: it is not.
    """

    provider: str
    gpu_class: str
    usd_per_hour: float
    capabilities: tuple[Capability, ...]
    vram_gb: float = 0.0
    boot_billed: bool = True
    granularity_s: float = 1.0
    min_billed_s: float = 0.0
    lease_s_max: float | None = None
    replace_after_s: float | None = None
    life_mean_s: float | None = None
    boot_prior: "Estimate | None" = None
    capacity: int = 1
    count_max: int = 1_000_000
    cooled_s: float = 0.0

    @property
    def queues(self) -> tuple[str, ...]:
        """Machines that we lease serve all queues; only an owner's may be kept for some."""
        return ()

    @property
    def lease_left_s(self) -> float | None:
        """What a job would find on a fresh lease."""
        return self.lease_s_max


@dataclass(frozen=True, slots=True)
class Estimate:
    """A duration in seconds. `samples` of 0 means that it is the prior."""

    mean_s: float
    p90_s: float
    samples: int = 0
    p99_s: float = 0.0
    """At least `p90_s`, wherever it is not given."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """Service and load by (engine, model or "", GPU class), boot by (provider, GPU class).

    Service is what a job takes with its model in memory; load is what a job of another model waits for before.
    """

    service: dict[tuple[str, str, str], Estimate] = field(default_factory=dict)
    boot: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    load: dict[tuple[str, str, str], Estimate] = field(default_factory=dict)


Memory = Mapping[str, object]
"""What a policy wants to know again at its next look: JSON, replaced whole and never changed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision may know. `draws` are uniform numbers in [0, 1), for policies that roll dice.

    `now_s` is a steady clock, and only for what a policy remembers. `memory` is what the plan before this one
    returned, if it was of the same policy. `arrived` counts all jobs that ever came; only its growth means something.
    `waits_s` are the waits of the jobs that began since the last look, from their arrival to the begin of their
    service: without low priority, and measured as `Patience.measured_s` does.
    """

    groups: tuple[JobGroup, ...] = ()
    workers: tuple[WorkerView, ...] = ()
    offers: tuple[Offer, ...] = ()
    estimates: Estimates = field(default_factory=Estimates)
    usd_today: float = 0.0
    limits: RunningLimits = NO_LIMITS
    running: RunningCounts = NOTHING_RUNS
    draws: tuple[float, ...] = ()
    now_s: float = 0.0
    memory: Memory = field(default_factory=dict)
    arrived: int = 0
    waits_s: tuple[float, ...] = ()

    def drawn(self, place: int, between: tuple[float, float]) -> float:
        """The number of this place, from least to most; the middle where nothing was drawn."""
        draw = self.draws[place] if place < len(self.draws) else 0.5
        return between[0] + draw * (between[1] - between[0])

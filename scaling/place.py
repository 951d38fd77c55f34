"""Who runs what: one `runnable` predicate for claims and for plans, and the order among those that fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from scaling.snapshot import Capability, Need, WorkerView

URGENT_SLACK_S = 60.0
"""With less time than this left, a job goes before those whose model happens to be warm."""
WARM_WAIT_S_MAX = 120.0
"""No job waits longer than this behind jobs that are only warmer, where a plan says no other patience."""
STARVED_PATIENCES = 8.0
"""A job that is late waits for those that can still be in time, but no longer than so many times the patience."""
WAIT_SHARE = 0.5
"""Of the time that its client gives it, a job waits for so much; the rest is for what goes wrong."""
LEASE_MARGIN_S = 60.0
"""Kept free at the hard end of a lease, for what a job still has to hand in."""
Holds = Mapping[Need, int]
"""How many jobs of a need stay for workers that have their model, as the last plan says."""
NO_HOLDS: Holds = {}


Kind = tuple[str, str, float]
"""Provider, GPU class, USD an hour: machines that are alike."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Jobs with so much time left, from `least_s` to `most_s`, are for machines that stay: not for these `kinds`, which
    may be taken away. With more there is time to try one of those; with less it is too late for any other.
    """

    kinds: frozenset[Kind]
    least_s: float
    most_s: float

    def bars(self, slack_s: float) -> bool:
        return self.least_s <= slack_s < self.most_s


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that jobs wait as the policy has it, and that a usual model takes to load: a job is late on a machine on
    which it could not begin, its model in memory, by then. `queue_wait_s` is for queues that have a wait of their own.
    """

    wait_s: float
    load_s: float = 0.0
    queue_wait_s: Mapping[str, float] = field(default_factory=dict)
    stays: Mapping[tuple[str, str | None], Stay] = field(default_factory=dict)
    """By engine and model."""

    def of(self, need: Need) -> "Patience":
        """That of jobs of a need: what the policy says of their queue, or their clients' word where that is longer. Who
        must start sooner is seen to by its slack.
        """
        wait_s = max(self.queue_wait_s.get(need.queue, self.wait_s), need.wait_s or 0.0)
        return self if wait_s == self.wait_s else Patience(wait_s, self.load_s, stays=self.stays)

    def measured_s(self, need: Need, wait_s: float) -> float:
        """A wait as it would be if such jobs were to wait no longer than others."""
        own = self.of(need)
        return wait_s if own is self else wait_s * self.wait_s / own.wait_s

    def barred(self, need: Need, host: "Host") -> Stay | None:
        """Which jobs of a need are not for this machine."""
        stay = self.stays.get((need.engine, need.model)) if self.stays else None
        return stay if stay and kind_of(host) in stay.kinds else None

    def urgent_s(self, need: Need) -> float:
        """With less time left, a job goes before all that have more."""
        stay = self.stays.get((need.engine, need.model)) if self.stays else None
        return max(URGENT_SLACK_S, stay.most_s) if stay else URGENT_SLACK_S

    @property
    def starved_s(self) -> float:
        return STARVED_PATIENCES * self.wait_s

    def late_s(self, *, is_warm: bool) -> float:
        """Who has waited longer is late. Less than 0: a machine without the model is too late for all."""
        return self.wait_s if is_warm else self.wait_s - self.load_s

    def passes_over(
        self, age_s: float, slack_s: float, *, is_warm: bool, urgent_s: float = URGENT_SLACK_S
    ) -> bool:
        """Whether those like it that are in time go before the first of a group: it is late, but neither starves nor
        must begin at once.
        """
        return self.late_s(is_warm=is_warm) < age_s <= self.starved_s and slack_s >= urgent_s


def own_wait_s(start_within_s: float | None) -> float | None:
    """How long a job may wait by its client's word: half of the time in which it must start, rounded down to a power of
    two, so that jobs are alike whose clients say about the same. None: the client says nothing, or nothing that can be
    waited for.

    That it need not be done soon says nothing: clients leave `complete_in` long without meaning to wait.
    """
    wait_s = WAIT_SHARE * (start_within_s or 0.0)
    return 2.0 ** math.floor(math.log2(wait_s)) if 1.0 <= wait_s < math.inf else None


class Host(Protocol):
    """What fitting depends on; a worker and an offer both have it."""

    @property
    def provider(self) -> str: ...
    @property
    def gpu_class(self) -> str: ...
    @property
    def vram_gb(self) -> float: ...
    @property
    def usd_per_hour(self) -> float: ...
    @property
    def capabilities(self) -> tuple[Capability, ...]: ...
    @property
    def queues(self) -> tuple[str, ...]: ...
    @property
    def lease_left_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """The head of a group of queued jobs. Seconds. `count` matters where jobs of the need are held."""

    need: Need
    age_s: float
    slack_s: float
    count: int = 1


def kind_of(host: Host) -> Kind:
    return (host.provider, host.gpu_class, host.usd_per_hour)


def runnable(need: Need, host: Host, host_id: str = "") -> bool:
    """Whether this machine could run jobs of this need at all, busy or not."""
    return (
        host_id not in need.avoid
        and (not host.queues or need.queue in host.queues)
        and (need.gpu_class is None or need.gpu_class == host.gpu_class)
        and host.vram_gb >= need.min_vram_gb
        and (not need.providers or host.provider in need.providers)
        and (need.usd_per_hour_max is None or host.usd_per_hour <= need.usd_per_hour_max)
        and outlasts(host.lease_left_s, need)
        and offers(host.capabilities, need.engine, need.model, need.features)
    )


def outlasts(lease_left_s: float | None, need: Need) -> bool:
    """Whether a job may take all of its time before the lease ends."""
    return lease_left_s is None or need.max_time_s + LEASE_MARGIN_S <= lease_left_s


@lru_cache(maxsize=4096)
def offers(
    capabilities: tuple[Capability, ...], engine: str, model: str | None, features: tuple[str, ...]
) -> bool:
    """Whether one of them runs this. Fleets have few of them and look often, so that answers are kept."""
    return any(
        one.engine == engine and (model is None or model in one.models) and set(features) <= set(one.features)
        for one in capabilities
    )


def warm(need: Need, resident: Sequence[str]) -> bool:
    """Whether the model that the need names (any of its engine, if it names none) is in memory."""
    if need.model is not None:
        return f"{need.engine}/{need.model}" in resident
    return any(name.startswith(f"{need.engine}/") for name in resident)


def may_take(need: Need, count: int, resident: Sequence[str], holds: Holds) -> bool:
    """Whether one of `count` waiting jobs is for a worker with these models: it has theirs, or not all are held."""
    return not holds or count > holds.get(need, 0) or warm(need, resident)


def choose(  # noqa: PLR0913
    candidates: Sequence[Candidate],
    host: Host,
    *,
    host_id: str,
    resident: Sequence[str],
    running_by_owner: Mapping[str, int],
    holds: Holds = NO_HOLDS,
    patience: Patience | None = None,
) -> Need | None:
    """The need whose head a free worker takes next: priority, urgency, warmth, fair share, deadline, age.

    With a patience (the wait that the policy aims at) a job that has waited longer is late, and comes after those that
    are not, unless it starves. Low priority goes after all others whatever its number: a job that rides on paid
    machines and went first would make the one behind it ask for another machine.
    """

    def order(candidate: Candidate) -> tuple[bool, int, bool, bool, bool, int, float, float]:
        is_warm = warm(candidate.need, resident)
        own = patience and patience.of(candidate.need)
        starved_s = own.starved_s if own else WARM_WAIT_S_MAX
        urgent_s = own.urgent_s(candidate.need) if own else URGENT_SLACK_S
        urgent = candidate.slack_s < urgent_s or candidate.age_s > starved_s
        return (
            candidate.need.low_priority,
            -candidate.need.priority,
            not urgent,
            not urgent and own is not None and candidate.age_s > own.late_s(is_warm=is_warm),
            not urgent and not is_warm,
            running_by_owner.get(candidate.need.owner, 0),
            candidate.slack_s,
            -candidate.age_s,
        )

    fitting = [
        one
        for one in candidates
        if may_take(one.need, one.count, resident, holds)
        and runnable(one.need, host, host_id)
        and not _is_barred(one, host, patience)
    ]
    return min(fitting, key=order).need if fitting else None


def _is_barred(one: Candidate, host: Host, patience: Patience | None) -> bool:
    stay = patience.barred(one.need, host) if patience else None
    return stay is not None and stay.bars(one.slack_s)


def best_worker(
    need: Need, free: Sequence[WorkerView], *, count: int = 1, holds: Holds = NO_HOLDS
) -> str | None:
    """The free worker to wake for one of `count` waiting jobs: an owner's machine first, which nobody bills by the
    hour, then a warm one, then the most recently used, so that surplus ages out.
    """

    def order(worker: WorkerView) -> tuple[bool, bool, float, float, str]:
        idle_s = worker.idle_s if worker.idle_s is not None else 0.0
        return (not worker.owned, not warm(need, worker.resident), idle_s, worker.usd_per_hour, worker.id)

    all_held = bool(holds) and count <= holds.get(need, 0)
    able = (one for one in free if warm(need, one.resident)) if all_held else free
    fitting = [one for one in able if runnable(need, one, one.id)]
    return min(fitting, key=order).id if fitting else None

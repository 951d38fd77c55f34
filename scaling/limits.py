"""How many jobs of a kind may run at once: by owner, by project, by queue. What is not named has no bound."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Kind = Literal["owner", "project", "queue"]
KINDS: tuple[Kind, ...] = ("owner", "project", "queue")


@dataclass(frozen=True, slots=True)
class RunningLimits:
    """A bound of 0 holds all of them back, as when a budget is spent."""

    owners: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[tuple[Kind, str], str] = field(default_factory=dict)
    """Why a bound is what it is and what helps, where that is not the number of jobs that run."""

    @property
    def bound_nothing(self) -> bool:
        return not (self.owners or self.projects or self.queues)


NO_LIMITS = RunningLimits()


@dataclass(frozen=True, slots=True)
class RunningCounts:
    """How many run now, by the same names."""

    owners: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)


NOTHING_RUNS = RunningCounts()


class Whose(Protocol):
    """What bounds depend on; a need has it."""

    @property
    def owner(self) -> str: ...
    @property
    def project(self) -> str: ...
    @property
    def queue(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Bound:
    """One that holds for a job, and how far it is used up."""

    kind: Kind
    name: str
    most: int
    running: int

    @property
    def left(self) -> int:
        return max(0, self.most - self.running)


def bounds(whose: Whose, limits: RunningLimits, running: RunningCounts) -> Iterator[Bound]:
    if (most := limits.owners.get(whose.owner)) is not None:
        yield Bound("owner", whose.owner, most, running.owners.get(whose.owner, 0))
    if (most := limits.projects.get(whose.project)) is not None:
        yield Bound("project", whose.project, most, running.projects.get(whose.project, 0))
    if (most := limits.queues.get(whose.queue)) is not None:
        yield Bound("queue", whose.queue, most, running.queues.get(whose.queue, 0))


def has_room(whose: Whose, limits: RunningLimits, running: RunningCounts) -> bool:
    """Whether one more may begin."""
    return all(one.left > 0 for one in bounds(whose, limits, running))


def count(running: Iterable[tuple[Whose, int]]) -> RunningCounts:
    """Counts by owner, project and queue, of pairs of whose jobs they are and how many of them run."""
    owners, projects, queues = Counter[str](), Counter[str](), Counter[str]()
    for whose, number in running:
        owners[whose.owner] += number
        projects[whose.project] += number
        queues[whose.queue] += number
    return RunningCounts(owners, projects, queues)

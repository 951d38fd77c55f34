"""The bill, kept by code of its own: one line for each interval in which a container ran."""

from dataclasses import dataclass, field
from decimal import Decimal

from salad.times import TICKS_PER_S, now, seconds


@dataclass(frozen=True, slots=True)
class Line:
    """Epoch seconds; `ended` is None while it runs, and `usd` is then what it has cost so far."""

    group: str
    instance: str
    started: float
    ended: float | None
    usd: float


@dataclass(frozen=True, slots=True)
class Living:
    """A group, or one instance of it, that still exists. `pid` is its container's."""

    group: str
    instance: str | None
    state: str
    billed: bool
    pid: int | None


@dataclass
class Run:
    """One container's time on one machine, in ticks."""

    group: str
    instance: str
    usd_per_hour: Decimal
    started: int
    ended: int | None = None

    def line(self, at: int) -> Line:
        ticks = (at if self.ended is None else self.ended) - self.started
        usd = float(self.usd_per_hour * ticks / (3600 * TICKS_PER_S))
        ended = None if self.ended is None else seconds(self.ended)
        return Line(self.group, self.instance, seconds(self.started), ended, usd)


@dataclass
class Ledger:
    runs: list[Run] = field(default_factory=list)

    def open(self, group: str, instance: str, usd_per_hour: Decimal, at: int) -> Run:
        self.runs.append(Run(group, instance, usd_per_hour, at))
        return self.runs[-1]

    def bill(self) -> tuple[Line, ...]:
        at = now()
        return tuple(run.line(at) for run in self.runs)

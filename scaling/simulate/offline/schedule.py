"""A schedule that is written out: who runs what when. It is billed and logged as a run of the simulator is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from scaling.simulate.log import Event, first_line
from scaling.simulate.report import percentile
from scaling.simulate.scenario import Boot, Scenario
from scaling.simulate.trace import Arrival, Trace


@dataclass(frozen=True, slots=True)
class Turn:
    """A job on a machine: the machine takes it at `start_s`, and its service begins after the load."""

    job: Arrival
    start_s: float
    load_s: float
    end_s: float

    @property
    def wait_s(self) -> float:
        return self.start_s + self.load_s - self.job.t_s


@dataclass(slots=True)
class Lease:
    """A machine from its launch to the end of its last turn."""

    launch_s: float
    ready_s: float
    turns: list[Turn] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.turns[-1].end_s if self.turns else self.ready_s

    def holds(self, job: Arrival) -> bool:
        """Whether its model is in memory when the last turn has ended."""
        if not self.turns:
            return False
        last = self.turns[-1].job
        return (last.need.engine, last.model) == (job.need.engine, job.model)

    def billed_s(self, *, boot_billed: bool) -> float:
        return self.end_s - (self.launch_s if boot_billed else self.ready_s)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Leases by the moment of their launch."""

    scenario: Scenario
    leases: Sequence[Lease]

    @property
    def billed_s(self) -> float:
        billed = self.scenario.offers[0].boot_billed
        return sum(one.billed_s(boot_billed=billed) for one in self.leases)

    def waits_s(self) -> list[float]:
        """Shortest first."""
        return sorted(turn.wait_s for lease in self.leases for turn in lease.turns)

    def wait_s(self, share: float) -> float:
        """The wait that this share of all waits stay below."""
        return percentile(self.waits_s(), share)

    def events(self, trace: Trace) -> Iterator[Event]:
        """The log from which anybody can recompute cost and waits; docs/simulate.md has its format."""
        yield first_line(self.scenario, 0, trace.speed)
        moments = [
            (one.t_s, 0, {"e": "arrival", "job": one.row, "model": one.model}) for one in trace.arrivals
        ]
        for node, lease in enumerate(self.leases):
            moments += _moments(node, lease)
        for at_s, _, facts in sorted(moments, key=lambda one: one[:2]):
            yield {"e": facts["e"], "t": round(at_s, 6), **facts}


def _moments(node: int, lease: Lease) -> Iterator[tuple[float, int, dict[str, object]]]:
    """At one moment a turn ends before the next begins, and a lease after all."""
    yield lease.launch_s, 1, {"e": "launch", "node": node}
    yield lease.ready_s, 2, {"e": "ready", "node": node}
    for turn in lease.turns:
        yield turn.start_s, 4, {"e": "start", "job": turn.job.row, "node": node, "switch_s": turn.load_s}
        yield turn.end_s, 3, {"e": "finish", "job": turn.job.row, "node": node}
    yield lease.end_s, 5, {"e": "terminate", "node": node}


def calm(scenario: Scenario) -> Scenario:
    """The same world without chance: every boot takes the median, no launch fails and no machine is lost.

    Raises:
        ValueError: there are several offers, or one that is billed in steps or has an end, which is not minded.
    """
    only = scenario.offers[0]
    if len(scenario.offers) > 1 or only.granularity_s or only.min_billed_s or only.lease_s_max is not None:
        raise ValueError(
            f"{scenario.name}: a schedule is made for one offer, billed by what was used, without an end"
        )
    boot = Boot(only.boot.median_s, only.boot.median_s)
    return replace(scenario, offers=(replace(only, boot=boot, fail_p=0.0, loss_mean_s=None),))

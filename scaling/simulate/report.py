"""What a run cost and how long jobs waited: kept as it goes, summed up at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scaling.health import billed_s
from scaling.simulate.machine import Machine, Run
from scaling.snapshot import Offer


@dataclass(frozen=True, slots=True)
class Report:
    """Seconds, USD, shares of 1.

    `billed_s` is what is paid of all leases, `lease_s` what they lasted: boots, busy time (loads among it), idle time
    and what was lost with machines. A wait is from the arrival to the begin of the service, after any load; of a job
    that was lost, to that of its last run. `failed` launches and `lost` machines are the provider's doing;
    `withdrawn` are intents that were never bought, `cancelled` launches that were ended before they were ready.
    """

    jobs: int
    unfinished: int
    cost_usd: float
    billed_s: float
    lease_s: float
    busy_s: float
    load_s: float
    boot_s: float
    idle_s: float
    lost_s: float
    utilisation: float
    launches: int
    failed: int
    lost: int
    withdrawn: int
    cancelled: int
    wait_mean_s: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    wait_max_s: float
    over_60: float
    over_300: float
    deadline_misses: int
    peak_workers: int
    looks: int
    events: int


@dataclass(slots=True)
class Tally:
    """Sums of a run. `waits_s` is by row of the trace; NaN until the job has begun."""

    waits_s: list[float]
    late: set[int] = field(default_factory=set)
    finished: int = 0
    usd: float = 0.0
    billed_s: float = 0.0
    lease_s: float = 0.0
    busy_s: float = 0.0
    load_s: float = 0.0
    boot_s: float = 0.0
    lost_s: float = 0.0
    launches: int = 0
    failed: int = 0
    lost: int = 0
    withdrawn: int = 0
    cancelled: int = 0
    leased: int = 0
    peak_workers: int = 0
    looks: int = 0
    events: int = 0
    _bills: list[tuple[float, float, float]] = field(default_factory=list)
    """When each lease began and ended, and what it cost: for the bill of the last day."""

    def launched(self) -> int:
        """The number of this launch, from 0."""
        self.launches += 1
        self.leased += 1
        self.peak_workers = max(self.peak_workers, self.leased)
        return self.launches - 1

    def claimed(self, run: Run) -> None:
        one = run.arrival
        self.waits_s[one.row] = run.begins_at - one.t_s
        if run.claimed_at > one.start_by_s:
            self.late.add(one.row)

    def done(self, run: Run, now_s: float) -> None:
        self.finished += 1
        self.busy_s += now_s - run.claimed_at
        self.load_s += run.load_s
        if now_s > run.arrival.complete_by_s:
            self.late.add(run.arrival.row)

    def dropped(self, run: Run, now_s: float) -> None:
        """Its machine is gone; the time is lost, and the job has not begun after all."""
        self.lost_s += now_s - run.claimed_at
        self.waits_s[run.arrival.row] = math.nan

    def ending(self, how: str, *, was_ready: bool) -> None:
        if how == "fail":
            self.failed += not was_ready
            self.lost += was_ready
        else:
            self.cancelled += not was_ready

    def ended(self, machine: Machine, offer: Offer, now_s: float) -> None:
        self.leased -= 1
        self.lease_s += now_s - machine.launched_at
        self.boot_s += (now_s if machine.ready_at is None else machine.ready_at) - machine.launched_at
        paid_s = paid(machine, offer, now_s)
        self.billed_s += paid_s
        self.usd += paid_s * offer.usd_per_hour / 3600
        self._bills.append((machine.launched_at, now_s, paid_s * offer.usd_per_hour / 3600))

    def usd_since(self, since_s: float) -> float:
        """What leases that have ended cost since then; of one that began before, its part."""
        self._bills = [one for one in self._bills if one[1] > since_s]
        return math.fsum(usd * _part(begin_s, end_s, since_s) for begin_s, end_s, usd in self._bills)

    def report(self) -> Report:
        waits_s = sorted(one for one in self.waits_s if not math.isnan(one))
        return Report(
            jobs=len(self.waits_s),
            unfinished=len(self.waits_s) - self.finished,
            cost_usd=self.usd,
            billed_s=self.billed_s,
            lease_s=self.lease_s,
            busy_s=self.busy_s,
            load_s=self.load_s,
            boot_s=self.boot_s,
            idle_s=self.lease_s - self.boot_s - self.busy_s - self.lost_s,
            lost_s=self.lost_s,
            utilisation=self.busy_s / self.lease_s if self.lease_s else 0.0,
            launches=self.launches,
            failed=self.failed,
            lost=self.lost,
            withdrawn=self.withdrawn,
            cancelled=self.cancelled,
            wait_mean_s=math.fsum(waits_s) / len(waits_s) if waits_s else 0.0,
            wait_p50_s=percentile(waits_s, 0.5),
            wait_p95_s=percentile(waits_s, 0.95),
            wait_p99_s=percentile(waits_s, 0.99),
            wait_max_s=waits_s[-1] if waits_s else 0.0,
            over_60=_share_over(waits_s, 60.0),
            over_300=_share_over(waits_s, 300.0),
            deadline_misses=len(self.late),
            peak_workers=self.peak_workers,
            looks=self.looks,
            events=self.events,
        )


def _part(begin_s: float, end_s: float, since_s: float) -> float:
    return min(1.0, (end_s - since_s) / (end_s - begin_s)) if end_s > begin_s else 1.0


def paid(machine: Machine, offer: Offer, now_s: float) -> float:
    """Seconds that are billed of a lease that ends now. Where the boot is free, what was never ready is free."""
    since_s = machine.launched_at if offer.boot_billed else machine.ready_at
    if since_s is None:
        return 0.0
    used_s = now_s - since_s
    return billed_s(offer, used_s) if offer.granularity_s else max(used_s, offer.min_billed_s)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Between order statistics it is linear. 0 of nothing."""
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _share_over(waits_s: Sequence[float], limit_s: float) -> float:
    return sum(one > limit_s for one in waits_s) / len(waits_s) if waits_s else 0.0

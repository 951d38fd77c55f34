"""The emulated cloud's own records: workloads, the prepaid balance, and the bill.

The bill is worked out here and nowhere else: whole seconds, from `created` to `stopped` or, without a stop, to
`expires`, at one price. The balance is in GPU minutes: a launch takes every begun minute up to `expires`, and a stop
gives the whole minutes back that were left.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BillLine:
    """`ended` None means that it runs, and `usd` is what it has cost so far."""

    workload: str
    type: str
    started: int
    ended: int | None
    usd: float


@dataclass(slots=True)
class Workload:
    """Times are epoch seconds; `shown_from` and `shown_until` are when `/workloads` tells of it as running."""

    id: str
    key: str
    type: str
    node: str
    created: int
    expires: int
    shown_from: float
    stopped: int | None = None
    shown_until: float | None = None

    def ended(self, now: float) -> int | None:
        if self.stopped is not None:
            return min(self.stopped, self.expires)
        return self.expires if now >= self.expires else None

    def shown(self, now: float) -> bool:
        """Stopped ones may be shown for a while, expired ones never."""
        until = self.expires if self.shown_until is None else min(self.shown_until, self.expires)
        return self.shown_from <= now < until

    def as_json(self, now: float) -> dict[str, object]:
        running = self.shown(now)
        return {
            "workload": self.id,
            "node": self.node,
            "type": self.type,
            "status": "running" if running else "stopped",
            "running": running,
            "created": self.created,
            "expires": self.expires,
        }


@dataclass(slots=True)
class Books:
    """Raises `KeyError` for a workload that never was."""

    usd_per_hour: float
    balance: int
    workloads: dict[str, Workload] = field(default_factory=dict)

    def affords(self, seconds: int) -> bool:
        return self.balance >= price_minutes(seconds)

    def open(self, workload: Workload) -> None:
        self.workloads[workload.id] = workload
        self.balance -= price_minutes(workload.expires - workload.created)

    def stop(self, workload_id: str, now: float, shown_until: float) -> int:
        """The refund: none for what was stopped or had expired before."""
        workload = self.workloads[workload_id]
        if workload.ended(now) is not None:
            return 0
        workload.stopped, workload.shown_until = int(now), shown_until
        refund = max(0, workload.expires - workload.stopped) // 60
        self.balance += refund
        return refund

    def bill(self, now: float) -> list[BillLine]:
        return [self._line(one, now) for one in self.workloads.values()]

    def _line(self, one: Workload, now: float) -> BillLine:
        ended = one.ended(now)
        seconds = (int(now) if ended is None else ended) - one.created
        return BillLine(one.id, one.type, one.created, ended, seconds * self.usd_per_hour / 3600)


def price_minutes(seconds: int) -> int:
    return -(-seconds // 60)

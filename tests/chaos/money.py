"""Our ledger against the clouds' own bills, instance by instance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CLOUDS = ("comput3", "salad")
ORPHAN = "orphan-"


@dataclass(frozen=True, slots=True)
class Line:
    """One instance. `ledger` is None where we do not know of it, `bill` where its cloud does not."""

    provider: str
    instance: str
    worker: str
    ledger: float | None
    bill: float | None

    @property
    def off(self) -> float:
        return abs((self.ledger or 0.0) - (self.bill or 0.0))


def compared(leases: Iterable[dict[str, Any]], billed: Mapping[str, Mapping[str, float]]) -> list[Line]:
    """Every instance that either side knows; an instance with two leases is two lines."""
    lines: list[Line] = []
    for provider in CLOUDS:
        left = dict(billed[provider])
        for lease in leases:
            if lease["provider"] == provider:
                instance = str(lease["instance_id"])
                bill = left.pop(instance, None)
                lines.append(Line(provider, instance, lease["worker_id"], lease["usd"], bill))
        lines += [Line(provider, instance, "", None, usd) for instance, usd in left.items()]
    return lines


def totals(lines: Iterable[Line], provider: str) -> tuple[float, float]:
    """Ledger and bill, in USD."""
    theirs = [one for one in lines if one.provider == provider]
    return sum(one.ledger or 0.0 for one in theirs), sum(one.bill or 0.0 for one in theirs)

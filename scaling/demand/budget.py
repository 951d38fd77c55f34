"""What may still be leased: limits on workers and money, in all and by provider."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.demand.catalogue import Fit
from scaling.policy import Limits, Policy
from scaling.snapshot import Offer, WorkerView
from scaling.states import WorkerState

UNSOLD = frozenset({WorkerState.INTENDED, WorkerState.CREATING})
"""On order, but not yet taken off what the provider says it has."""
ROUNDING_USD = 1e-9
REFUSALS = ("budget_workers", "budget_usd_per_hour", "budget_usd_per_day", "cooling", "no_capacity")
"""What ops can change comes first."""
ALL = "all providers"
"""The scope of the limits in all; no provider has a name with a space."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer may not be taken now, in words that say what would help."""

    code: str
    reason: str


class Ledger:
    """Everything that is not gone counts, from the intent on: whatever we ordered, we may have to pay."""

    def __init__(self, policy: Policy, usd_today: float) -> None:
        self._policy = policy
        self._usd_today = usd_today
        self._count: dict[str, int] = defaultdict(int)
        self._usd_per_hour: dict[str, float] = defaultdict(float)
        self._unsold: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, provider: str, usd_per_hour: float) -> None:
        for scope in (provider, ALL):
            self._count[scope] += 1
            self._usd_per_hour[scope] += usd_per_hour

    def add_worker(self, worker: WorkerView, order_usd: float = 0.0) -> None:
        self.add(worker.provider, worker.usd_per_hour)
        self._usd_today += order_usd
        if worker.state in UNSOLD:
            self._unsold[worker.provider, worker.gpu_class] += 1

    def add_launch(self, offer: Offer, order_usd: float) -> None:
        self.add(offer.provider, offer.usd_per_hour)
        self._usd_today += order_usd
        self._unsold[offer.provider, offer.gpu_class] += 1

    def offer_refusal(self, offer: Offer, order_usd: float) -> Refusal | None:
        """Why this offer may not be taken for a job of this cost; None if it may."""
        name = f"{offer.provider}/{offer.gpu_class}"
        if refusal := self.limit_refusal(offer.provider, offer.usd_per_hour, order_usd):
            return refusal
        if offer.cooled_s > 0:
            wait = f"it is tried again in {offer.cooled_s:.0f} s"
            return Refusal("cooling", f"{name} refused a launch a moment ago; {wait}.")
        if self._unsold[offer.provider, offer.gpu_class] >= offer.count_max:
            return Refusal("no_capacity", f"{name} has no more machines now; add a provider or wait.")
        return None

    def first(self, fits: Sequence[Fit]) -> tuple[Fit | None, Refusal | None]:
        """The first that may be leased now, or why none may: of several reasons, what ops can change is told first."""
        refusals = []
        for fit in fits:
            refusal = self.offer_refusal(fit.offer, fit.cost_usd)
            if refusal is None:
                return fit, None
            refusals.append(refusal)
        return None, min(refusals, key=lambda one: REFUSALS.index(one.code), default=None)

    def limit_refusal(self, provider: str, usd_per_hour: float, order_usd: float = 0.0) -> Refusal | None:
        """Why one more worker at this price would break a limit; None if it would not."""
        theirs = self._policy.provider_limits.get(provider)
        return (
            self._scope_refusal(ALL, self._policy.limits, usd_per_hour)
            or (theirs and self._scope_refusal(provider, theirs, usd_per_hour))
            or self._day_refusal(order_usd)
        )

    def _scope_refusal(self, scope: str, limits: Limits, usd_per_hour: float) -> Refusal | None:
        count, usd = self._count[scope], self._usd_per_hour[scope]
        if limits.workers_max is not None and count >= limits.workers_max:
            reason = (
                f"{count} of {limits.workers_max} workers of {scope} are in use; raise workers_max or wait."
            )
            return Refusal("budget_workers", reason)
        if (
            limits.usd_per_hour_max is not None
            and usd + usd_per_hour > limits.usd_per_hour_max + ROUNDING_USD
        ):
            spent = f"{usd:.2f} of {limits.usd_per_hour_max:.2f} USD/hour of {scope} are in use"
            return Refusal(
                "budget_usd_per_hour",
                f"{spent}, and this needs {usd_per_hour:.2f} more; raise usd_per_hour_max or wait.",
            )
        return None

    def _day_refusal(self, order_usd: float) -> Refusal | None:
        most = self._policy.usd_per_day_max
        if most is None or (self._usd_today < most and self._usd_today + order_usd <= most + ROUNDING_USD):
            return None
        spent = f"{self._usd_today:.2f} of {most:.2f} USD of the last day are spent or promised"
        return Refusal(
            "budget_usd_per_day", f"{spent}, and this needs {order_usd:.2f}; raise usd_per_day_max or wait."
        )

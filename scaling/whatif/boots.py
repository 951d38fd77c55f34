"""How long boots take, as a distribution: lognormal, through the mean and the p90 that are known of them."""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from scaling.snapshot import Estimate, Offer

_NORMAL = NormalDist()
_Z90 = _NORMAL.inv_cdf(0.9)
_SPREAD_MAX = _Z90 * 0.95
_Z = tuple(_NORMAL.inv_cdf(share / 100) for share in range(1, 100))
REST_S_MIN = 1.0
STEP_S_MIN = 60.0
"""Billing in finer steps than this is billing by the second."""


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds. `quantiles_s[i]` is what `i + 1` of a hundred boots stay below."""

    mean_s: float
    quantiles_s: tuple[float, ...]
    center: float
    spread: float

    def quantile_s(self, percent: int) -> float:
        return self.quantiles_s[min(99, max(1, percent)) - 1]

    def share_below(self, seconds: float) -> float:
        if seconds <= 0:
            return 0.0
        if not self.spread:
            return float(seconds >= self.mean_s)
        return 0.5 * math.erfc((self.center - math.log(seconds)) / (self.spread * math.sqrt(2)))

    def share_within(self, seconds: float, age_s: float) -> float:
        """Of boots that are as old as this one, how many end within so many seconds."""
        below = self.share_below(age_s)
        return (self.share_below(age_s + seconds) - below) / (1.0 - below) if below < 1.0 else 0.0

    def rest_s(self, age_s: float) -> float:
        """What half of the boots that are as old as this one still take at most."""
        below = self.share_below(age_s)
        whole_s = self.quantile_s(round(100 * (1 + below) / 2))
        return max(REST_S_MIN, whole_s - age_s)


@lru_cache(maxsize=256)
def boot_of(known: Estimate) -> Boot:
    mean_s = max(known.mean_s, 0.001)
    # The p90 of a lognormal is mean * exp(z * spread - spread**2 / 2); the lesser root is the spread.
    inner = _Z90**2 - 2 * math.log(max(1.0, known.p90_s / mean_s))
    spread = min(_SPREAD_MAX, _Z90 - math.sqrt(max(0.0, inner)))
    center = math.log(mean_s) - spread**2 / 2
    return Boot(mean_s, tuple(math.exp(center + spread * z) for z in _Z), center, spread)


def boot_paid_s(boot: Boot, offer: Offer | None) -> float:
    """What is paid of a boot, or, where that is more, of the least that a lease costs."""
    if offer is None:
        return boot.mean_s
    paid_s = boot.mean_s if offer.boot_billed else 0.0
    return max(paid_s, offer.min_billed_s, offer.granularity_s if offer.granularity_s > STEP_S_MIN else 0.0)

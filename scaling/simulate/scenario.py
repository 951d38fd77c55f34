"""The world of a run: what is for sale and how it behaves, how fast GPUs are, and how the loop turns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from scaling.snapshot import Estimate

PHI_INV = NormalDist().inv_cdf
LOAD_S = 22.718
WORKERS_MAX = 500
GPU = "gpu"


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds from the launch request to ready: lognormal by its median and 95th percentile; equal, constant."""

    median_s: float
    p95_s: float

    @property
    def sigma(self) -> float:
        return math.log(self.p95_s / self.median_s) / PHI_INV(0.95)

    def at(self, share: float) -> float:
        """The boot that `share` of all boots stay below."""
        return self.median_s * math.exp(self.sigma * PHI_INV(share))

    def known(self) -> Estimate:
        """What this provider is known for."""
        mean_s = self.median_s * math.exp(self.sigma**2 / 2)
        return Estimate(mean_s=mean_s, p90_s=max(mean_s, self.at(0.9)), p99_s=max(mean_s, self.at(0.99)))


@dataclass(frozen=True, slots=True)
class GpuClass:
    """A job runs `service_factor` times its service of the trace; one of another model loads for `load_s` first."""

    service_factor: float = 1.0
    load_s: float = LOAD_S
    vram_gb: float = 24.0


@dataclass(frozen=True, slots=True)
class Terms:
    """An offer: what its buyer is told, and what becomes of its machines.

    `fail_p` of the launches fail at the moment at which they would have been ready. Where the boot is billed, a lease
    is paid from its launch, else from ready. `granularity_s` 0 bills what was used. `loss_mean_s` is the mean life
    after ready. `boot_prior` is what its boots are said to take, where that is not the truth. Several of a provider and
    a class are tiers: they differ in price, and boot alike.
    """

    provider: str
    boot: Boot
    gpu_class: str = GPU
    usd_per_hour: float = 1.0
    fail_p: float = 0.03
    boot_billed: bool = True
    granularity_s: float = 0.0
    min_billed_s: float = 0.0
    lease_s_max: float | None = None
    replace_after_s: float | None = None
    loss_mean_s: float | None = None
    count_max: int = WORKERS_MAX
    boot_prior: Estimate | None = None

    def told(self) -> Estimate:
        """What its buyer knows of boots before any has ended."""
        return self.boot_prior or self.boot.known()


@dataclass(frozen=True, slots=True)
class Turns:
    """The loop: a look every `period_s` and `nudge_s` after an event; `launch_delay_s` from a plan to its launch.

    With a `launch_gap_s`, machines are bought one after the other, so far apart, as where they carry no tags.
    """

    period_s: float = 5.0
    nudge_s: float = 0.0
    launch_delay_s: float = 0.0
    launch_gap_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    offers: tuple[Terms, ...]
    gpu_classes: Mapping[str, GpuClass] = field(default_factory=lambda: {GPU: GpuClass()})
    loop: Turns = field(default_factory=Turns)
    workers_max: int = WORKERS_MAX
    launches_per_step_max: int = WORKERS_MAX


COMPUT3 = Boot(median_s=45.0, p95_s=90.0)
SALAD = Boot(median_s=240.0, p95_s=600.0)
BUILT_IN: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        Scenario("comput3", (Terms("comput3", COMPUT3),)),
        Scenario("salad", (Terms("salad", SALAD),)),
        Scenario("salad-free", (Terms("salad", SALAD, boot_billed=False),)),
    )
}

"""What ops may set: the policy. It is stored, shown at /v1/policy, and passed to `decide` as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

IDLE_S = 300.0
Aim = Literal["cheap", "balanced", "fast"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets. None means no limit."""

    workers_max: int | None = 10
    usd_per_hour_max: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds, money in USD. The defaults are those of the reference systems where they have one."""

    name: str = "whatif"
    aim: Aim = "balanced"
    target_p95_s: float | None = None
    """Nineteen jobs of twenty should wait no longer than this; None: what the aim says."""
    knobs: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the named policy alone, by their names there."""
    idle_s: float | None = None
    """A worker is let go so long after its last finish. None: 300 for `fixed`, what pays for `whatif`."""
    launch_delay_s_min: float | None = None
    """None: what the named policy says (15 for `fixed`, 2 for `whatif`)."""
    launch_delay_s_max: float | None = None
    provider_launch_delay_s: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Least and most for one provider, instead of the above."""
    grace_s: float = 60.0
    """A worker that never had a job is kept at least so long after it became ready."""
    silent_s_max: float = 45.0
    """Three missed health checks of 15 s."""
    boot_s_max: float = 3600.0
    """However long boots of a provider have taken."""
    create_s_max: float = 600.0
    claim_silent_s_max: float = 60.0
    drain_s_max: float = 7200.0
    launches_per_step_max: int = 10
    limits: Limits = field(default_factory=Limits)
    """In all."""
    provider_limits: dict[str, Limits] = field(default_factory=dict)
    usd_per_day_max: float | None = None
    queue_wait_s: dict[str, float] = field(default_factory=dict)
    """Instead of the target, for jobs of these queues."""

    @property
    def idle_s_usual(self) -> float:
        """Where nothing better is known than what the reference systems do."""
        return IDLE_S if self.idle_s is None else self.idle_s

    def launch_delay_s(self, provider: str, least_s: float, most_s: float) -> tuple[float, float]:
        """Least and most seconds between an intent and its second look; the arguments hold where nothing is set."""
        if provider in self.provider_launch_delay_s:
            return self.provider_launch_delay_s[provider]
        low_s = least_s if self.launch_delay_s_min is None else self.launch_delay_s_min
        high_s = most_s if self.launch_delay_s_max is None else self.launch_delay_s_max
        return low_s, max(low_s, high_s)

"""What ops may set: the policy. It is stored, shown at /v1/policy, and passed to `decide` as a value."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets. None means no limit."""

    workers_max: int | None = 10
    usd_per_hour_max: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds, money in USD. The defaults are those of the reference systems where they have one."""

    name: str = "whatif"
    idle_s: float = 300.0
    launch_delay_s_min: float | None = None
    """None: what the named policy says (15 for `fixed`, 0 for `whatif`)."""
    launch_delay_s_max: float | None = None
    slack_s: float = 0.0
    """How much longer than a boot a job may wait before another machine is worth it."""
    grace_s: float = 60.0
    """A worker that never had a job is kept at least so long after it became ready."""
    silent_s_max: float = 45.0
    """Three missed health checks of 15 s."""
    boot_s_max: float = 900.0
    create_s_max: float = 600.0
    claim_silent_s_max: float = 60.0
    drain_s_max: float = 7200.0
    launches_per_step_max: int = 10
    limits: Limits = field(default_factory=Limits)
    """In all."""
    provider_limits: dict[str, Limits] = field(default_factory=dict)
    usd_per_day_max: float | None = None

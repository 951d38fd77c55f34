"""What goes wrong, how often and how slowly. All may be turned while the emulator runs."""

import random
from dataclasses import dataclass, field


@dataclass
class Knobs:
    """Shares are probabilities from 0 to 1, times are seconds.

    `next` names faults (the shares' names, or `rate_limited_wait`) that come once, at the first occasion.
    """

    create_unknown: float = 0.0
    """The group is created, and the reply is an HTML 502."""
    create_lost: float = 0.0
    """Nothing is created, and the reply is the same HTML 502."""
    stop_unknown: float = 0.0
    """A group is stopped or deleted, and the reply is an HTML 502."""
    job_unknown: float = 0.0
    """The queue job is created, and the reply is an HTML 502."""
    rate_limited: float = 0.0
    """A 429, with Retry-After every other time."""
    rate_limited_wait: float = 0.0
    """A 429, always with Retry-After."""
    capacity: float = 0.0
    """A create is refused as over the quota."""
    html_errors: float = 0.0
    """A read is answered with an HTML 502."""
    node_death: float = 0.0
    """Of the machines whose container came up: lost within `node_death_within_s`."""
    preemption: float = 0.0
    """Likewise, for somebody who pays more."""
    slow_download: float = 0.0
    """Of the machines: takes `slow_download_s` to load the image."""
    webhook_lost: float = 0.0
    """Of the webhooks: never sent."""
    webhook_twice: float = 0.0
    """Of the webhooks: sent again after it was taken, under the same id."""
    next: list[str] = field(default_factory=list)
    latency_s: float = 0.0
    """Every reply takes up to so long."""
    retry_after_s: int = 1
    list_lag_s: float = 0.0
    """How long the list of groups does not show a new one; its own address does."""
    replicas_quota: int = 100
    moves_per_minute: int = 1000
    """Reallocations, recreations and restarts, each."""
    allocate_s: float = 0.05
    download_s: float = 0.1
    slow_download_s: float = 600.0
    create_s: float = 0.05
    restart_s: float = 0.05
    """From a container's end to its next start on the same machine."""
    probe_s: float = 0.1
    """The period of readiness probes, in place of the group's own."""
    restarts_max: int = 5
    """So many on one machine; then comes another machine."""
    stop_lag_s: float = 0.2
    """How long containers run on after stop or delete; they are billed meanwhile."""
    node_death_within_s: float = 5.0
    node_death_notice_s: float = 0.0
    """A dead machine stays listed as running, and billed, for so long."""
    preemption_within_s: float = 5.0
    tombstone_s: float = 300.0
    """How long the name of a deleted group cannot be used again."""
    job_retries: int = 3
    job_retry_s: float = 0.05
    webhook_tries: int = 3
    webhook_retry_s: float = 0.2
    old_secret_s: float = 0.0
    """How long webhooks are still signed with the old secret after it was exchanged."""


SHARES = tuple(
    name for name, kind in Knobs.__annotations__.items() if kind is float and not name.endswith("_s")
)


class Dice:
    """One seeded stream a concern, so that turning one knob leaves the others' draws as they were."""

    def __init__(self, knobs: Knobs, seed: int) -> None:
        self._knobs = knobs
        self._seed = seed
        self._streams: dict[str, random.Random] = {}

    def hits(self, name: str, *, unless: bool = False) -> bool:
        """`unless` spares this occasion, though not its draw, and leaves a fault that waits for the next one."""
        drawn = self.up_to(name, 1.0)
        if unless:
            return False
        if name in self._knobs.next:
            self._knobs.next.remove(name)
            return True
        share: float = getattr(self._knobs, name)
        return drawn < share

    def up_to(self, concern: str, high: float) -> float:
        if concern not in self._streams:
            self._streams[concern] = random.Random(f"{self._seed} {concern}")
        return self._streams[concern].random() * high

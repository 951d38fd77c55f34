"""What goes wrong in the emulated cloud, how often, and the dice that decide it."""

import random
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Route = Literal["types", "balance", "profile", "status", "launch", "workloads", "stop"]


@dataclass
class Knobs:
    """Shares are 0 to 1, times are seconds. Everything may be turned while the cloud runs.

    `create_unknown` and `stop_unknown` answer with an HTML 502 after the deed, `create_lost` before it. `next` forces
    faults, each on the first coming call that it fits: the name of a share or `capacity`, and before it, if only one
    route will do, that route: `launch:rate_limited`, `workloads:html_errors`, `stop:html_errors`.
    """

    create_unknown: float = 0.0
    create_lost: float = 0.0
    stop_unknown: float = 0.0
    rate_limited: float = 0.0
    html_errors: float = 0.0
    """Reads that answer with an HTML 502."""
    retry_after_s: int = 1
    """What every second 429 says."""
    capacity: int | None = None
    """Workloads that may live at once."""
    capacity_status: int = 503
    list_lag_s: float = 0.0
    stop_lag_s: float = 0.0
    boot_s: float = 0.0
    latency_s_max: float = 0.0
    node_death: float = 0.0
    die_after_s: tuple[float, float] = (0.0, 10.0)
    """Between which moments after its boot a doomed node dies."""
    csm_error: float = 0.0
    whisper_error: float = 0.0
    work_s: float = 0.0
    """How much longer than the model needs each call of an app takes."""
    heartbeat_s: float = 15.0
    next: list[str] = field(default_factory=list)

    def turn(self, changes: dict[str, Any]) -> None:
        """Raises `ValueError` for a knob that does not exist."""
        known = {one.name for one in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no such knob: {', '.join(unknown)}")
        for name, value in changes.items():
            setattr(self, name, tuple(value) if name == "die_after_s" else value)


class Dice:
    """One stream of random numbers a concern, so that turning one knob leaves the others' draws as they were."""

    def __init__(self, seed: int, knobs: Knobs) -> None:
        self._seed = seed
        self._knobs = knobs
        self._streams: dict[str, random.Random] = {}

    def hits(self, fault: str, route: Route | None = None) -> bool:
        """Whether this call meets the fault, by force or by chance."""
        drawn: float = self._stream(fault).random()
        share: float = getattr(self._knobs, fault)
        return self.forced(fault, route) or drawn < share

    def forced(self, fault: str, route: Route | None = None) -> bool:
        found = next((one for one in self._knobs.next if _fits(one, fault, route)), None)
        if found is not None:
            self._knobs.next.remove(found)
        return found is not None

    def between(self, concern: str, low: float, high: float) -> float:
        return self._stream(concern).uniform(low, high)

    def _stream(self, concern: str) -> random.Random:
        return self._streams.setdefault(concern, random.Random(f"{self._seed}:{concern}"))


def _fits(forced: str, fault: str, route: Route | None) -> bool:
    where, _, what = forced.rpartition(":")
    return what == fault and where in ("", route)

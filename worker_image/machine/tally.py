"""What this worker has done since it began, counted where it happens; `GET /metrics` shows it."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


@dataclass(slots=True)
class Spread:
    """A histogram: how many lay in each bucket, the last of which has no upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def note(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Tally:
    """`jobs` by engine and end; `phases` by engine and phase. Bytes are those of inputs and of outputs."""

    jobs: Counter[tuple[str, str]] = field(default_factory=Counter)
    phases: dict[tuple[str, str], Spread] = field(default_factory=dict)
    heartbeats: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0

    def note_phase(self, engine: str, phase: str, seconds: float) -> None:
        self.phases.setdefault((engine, phase), Spread()).note(seconds)

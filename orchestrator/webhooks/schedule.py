"""When a delivery that failed is tried again."""

import random
from dataclasses import dataclass

TRIES_MIN = 5
"""Evenly spaced, as clients of the first render API expect; a tail may follow."""
JITTER = 0.1
"""Of each wait so much at most is added, so that what failed together does not come again together."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`retry_s` lies between the first tries; `tail_s` are the waits before those after them. Seconds."""

    retry_s: float = 5.0
    tail_s: tuple[float, ...] = ()

    @property
    def tries_max(self) -> int:
        return TRIES_MIN + len(self.tail_s)

    def wait_s(self, tries: int, dice: random.Random) -> float | None:
        """How long after the failure of try number `tries`, counted from 1, the next one is due; None: never."""
        waits = (*(self.retry_s,) * (TRIES_MIN - 1), *self.tail_s)
        return jittered(waits[tries - 1], dice) if tries <= len(waits) else None


def jittered(wait_s: float, dice: random.Random) -> float:
    return wait_s * (1 + JITTER * dice.random())

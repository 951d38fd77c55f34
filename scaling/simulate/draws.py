"""The dice of a run: one stream per concern, so that every policy meets the same luck."""

import math
import random
from dataclasses import dataclass

from scaling.simulate.scenario import Terms


@dataclass(frozen=True, slots=True)
class Draw:
    """What becomes of a launch. `life_s` counts from ready; infinite where machines are not lost."""

    latency_s: float
    fails: bool
    life_s: float


class LaunchDraws:
    """The k-th launch request of a run has the k-th draw: three uniform numbers of one stream, whatever the policy.

    The recipe is the one by which the event logs are checked from outside: `random.Random("referee-launch-<seed>")`;
    the first number is the rank of the latency, the second says whether it fails, the third is the rank of its life.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(f"referee-launch-{seed}")  # noqa: S311 - a simulation's dice are no secret.

    def next(self, terms: Terms) -> Draw:
        rank, fate, age = self._dice.random(), self._dice.random(), self._dice.random()
        rank = min(max(rank, 1e-12), 1 - 1e-12)
        life_s = math.inf if terms.loss_mean_s is None else -terms.loss_mean_s * math.log(1.0 - age)
        return Draw(terms.boot.at(rank), fate < terms.fail_p, life_s)


def stream(seed: int, concern: str) -> random.Random:
    """A stream of its own for everything that is not a launch."""
    return random.Random(f"gpulease-{concern}-{seed}")  # noqa: S311 - a simulation's dice are no secret.

"""How the work of a node goes wrong, and how long it takes beyond what the model needs."""

import asyncio
from dataclasses import dataclass

from comput3.knobs import Dice, Knobs


@dataclass(frozen=True, slots=True)
class Work:
    knobs: Knobs
    dice: Dice

    async def begin(self, fault: str) -> None:
        """Raises `RuntimeError` if this piece of work meets the fault."""
        await asyncio.sleep(self.knobs.work_s)
        if self.dice.hits(fault):
            raise RuntimeError("CUDA failed with error out of memory")

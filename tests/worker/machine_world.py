"""What tests of the worker's machine share: libraries in the place of others', and how to wait for an answer."""

import os
from collections.abc import Iterable
from pathlib import Path

from agent_orchestrator import Emulator
from conftest import until

STAND_INS = Path(__file__).parents[1] / "stand_ins"


def libraries(*names: str) -> dict[str, str]:
    """An environment in which these stand-ins come before the real libraries."""
    found: Iterable[str] = (str(STAND_INS / name) for name in names)
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": ":".join([*found, *([before] if before else [])])}


def speak(world: Emulator, text: str) -> int:
    return world.give("csm", {"text": text})


async def finish_of(world: Emulator, attempt: int) -> dict:
    await until(lambda: attempt in world.finished)
    return world.finished[attempt]


async def metrics_of(world: Emulator, attempt: int) -> dict:
    return (await finish_of(world, attempt))["result"]["metrics"]

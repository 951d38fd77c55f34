"""What a worker is made of."""

from dataclasses import dataclass
from pathlib import Path

from worker_image.execute import Runs
from worker_image.media.prefetch import Prefetched
from worker_image.settings import Settings
from worker_image.slots import Slots


@dataclass(frozen=True, slots=True)
class Machine:
    """The agent and the HTTP app share it."""

    settings: Settings
    executor: Runs
    prefetched: Prefetched
    slots: Slots
    scratch: Path

"""What a worker is made of."""

from dataclasses import dataclass, field
from pathlib import Path

from worker_image.execute import Runs
from worker_image.machine.gpu import Gpu
from worker_image.machine.tally import Tally
from worker_image.media.prefetch import Prefetched
from worker_image.serving.health import Health
from worker_image.settings import Settings
from worker_image.slots import Slots


@dataclass(frozen=True, slots=True)
class Machine:
    """The agent and the HTTP app share it. Without `gpu` there is none that we can read, as on a machine elsewhere."""

    settings: Settings
    executor: Runs
    prefetched: Prefetched
    slots: Slots
    scratch: Path
    gpu_class: str = "cpu"
    vram_gb: float = 0.0
    gpu: Gpu | None = None
    health: Health = field(default_factory=Health)
    tally: Tally = field(default_factory=Tally)

    def free_vram_gb(self) -> float | None:
        now = self.gpu.now() if self.gpu else None
        return round(now.free_mib / 1024, 2) if now else None

"""What we remember of the physical machines under our instances: who failed us, decaying with time."""

from collections import defaultdict
from dataclasses import dataclass

from orchestrator.clock import Clock
from orchestrator.store.protocol import Store
from orchestrator.store.rows import HostFault, Worker
from scaling.states import WorkerState

HALF_LIFE_S = 6 * 3600.0
FORGOTTEN_S = 10 * HALF_LIFE_S
BAD_SCORE = 1.5
"""Two failures within a few hours; one alone is bad luck."""
BLAMED = frozenset({WorkerState.STARTING, WorkerState.READY})


@dataclass(frozen=True, slots=True)
class Hosts:
    store: Store
    clock: Clock

    async def scores(self) -> dict[tuple[str, str], float]:
        """Failures by (provider, host id), each worth 1 at first and half of it after six hours."""
        now = self.clock.now()
        scores: dict[tuple[str, str], float] = defaultdict(float)
        for fault in await self.store.list_host_faults(since=now - FORGOTTEN_S):
            scores[fault.provider, fault.host_id] += 0.5 ** (max(0.0, now - fault.at) / HALF_LIFE_S)
        return dict(scores)

    async def blame(self, worker: Worker, reason: str) -> None:
        if worker.host_id is not None:
            fault = HostFault(worker.provider, worker.host_id, worker.id, reason, self.clock.now())
            await self.store.record_host_fault(fault)

    async def blame_for_end(self, worker_id: str, reason: str) -> None:
        """A plan stops only what is dead, unhealthy or does not boot, and what was drained: the last is no fault."""
        worker = await self.store.get_worker(worker_id)
        if worker is not None and worker.state in BLAMED:
            await self.blame(worker, reason)

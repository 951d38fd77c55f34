"""Which plans are kept: those that did something, and those whose blocks are not those of the one before."""

from orchestrator.plans.record import PlanRecord, explained
from orchestrator.store.protocol import Store
from scaling.snapshot import Need

Block = tuple[str, Need | None]


class PlanBook:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocked: frozenset[Block] = frozenset()

    async def keep(self, record: PlanRecord) -> None:
        blocked = frozenset((one.code, one.need) for one in record.plan.blocked)
        if record.plan.actions or blocked != self._blocked:
            await self._store.record_plan(explained(record), at=record.at)
        self._blocked = blocked

"""Owners' machines: nobody leases them; they report for duty with a key, and come and go as their owners please."""

import re
from dataclasses import dataclass
from hmac import compare_digest

from orchestrator.clock import Clock
from orchestrator.keys import hash_key, matches, owner_key, worker_key
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Enrolment, InstanceFacts, Worker, WorkerMove
from provider_clients.static import StaticMachine
from scaling.states import WORKER_MOVES, WorkerState, sources

BUFFER = "buffer"
STATIC = "static"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEASED_ID = re.compile(r"w-[0-9a-f]{12}|static-.*")
"""Ids of workers that we lease or configure: no owner may take one."""


@dataclass(frozen=True, slots=True)
class Owners:
    """`enrolment_key` enrols any new id. A machine that has shown a key of its own no longer takes it."""

    store: Store
    clock: Clock
    secret: bytes
    enrolment_key: str | None
    buffer_allowed: bool = True

    async def admit(self, worker_id: str, key: str) -> Worker | None:
        """The worker that this key is right for, enrolled if it is new; None where it is not."""
        worker = await self.store.get_worker(worker_id)
        if worker is None or (worker.owned and worker.state is WorkerState.GONE):
            return await self._enrol(worker_id, key)
        if matches(key, worker.key_hash):
            return worker
        if worker.provider == BUFFER and compare_digest(key, owner_key(self.secret, worker_id)):
            await self.store.rekey_worker(worker_id, hash_key(key))
            return await self.store.get_worker(worker_id)
        return None

    async def _enrol(self, worker_id: str, key: str) -> Worker | None:
        if not self.buffer_allowed or not _ID.fullmatch(worker_id) or _LEASED_ID.fullmatch(worker_id):
            return None
        known = [owner_key(self.secret, worker_id), *([self.enrolment_key] if self.enrolment_key else [])]
        if not any(compare_digest(key.encode(), one.encode()) for one in known):
            return None
        if await self.store.enrol_worker(Enrolment(worker_id, BUFFER, hash_key(key), self.clock.now())):
            await self.store.note_instance(worker_id, InstanceFacts(worker_id))
        return await self.store.get_worker(worker_id)

    async def enrol_static(self, machines: tuple[StaticMachine, ...]) -> None:
        """One worker for each configured machine; those that are configured no more are let go."""
        now = self.clock.now()
        for machine in machines:
            name = f"static-{machine.name}"
            key_hash = hash_key(worker_key(self.secret, name))
            await self.store.enrol_worker(
                Enrolment(name, STATIC, key_hash, now, machine.gpu_class, machine.usd_per_hour)
            )
            await self.store.note_instance(name, InstanceFacts(machine.name, address=machine.url))
        names = {f"static-{machine.name}" for machine in machines}
        for worker in await self.store.list_workers(include_gone=False, limit=10_000):
            if worker.provider == STATIC and worker.id not in names:
                expected = sources(WORKER_MOVES, WorkerState.STOPPING)
                move = WorkerMove(WorkerState.STOPPING, expected, "start", "it is not configured any more")
                await self.store.move_worker(worker.id, move, now=now)

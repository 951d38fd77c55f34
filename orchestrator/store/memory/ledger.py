"""The model's events, host faults, deliveries, uploads, keys, settings, and what it forgets."""

import copy
from dataclasses import replace
from typing import Any

from orchestrator.store import moves, rules
from orchestrator.store.errors import Duplicate
from orchestrator.store.memory.world import Model
from orchestrator.store.rows import ApiKey, Delivery, Event, HostFault, Job, Purged, Upload
from scaling.states import WorkerState


class LedgerVerbs(Model):
    async def list_events(
        self, *, job_id: str | None = None, worker_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        found = [
            one
            for one in self.world.events
            if job_id in (None, one.job_id)
            and worker_id in (None, one.worker_id)
            and (one.id if job_id is None else one.seq) > after
        ]
        return found[:limit]

    async def record_host_fault(self, fault: HostFault) -> None:
        self.world.host_faults.setdefault((fault.worker_id, fault.reason), fault)

    async def list_host_faults(self, *, since: float) -> list[HostFault]:
        found = [one for one in self.world.host_faults.values() if one.at >= since]
        return sorted(found, key=lambda one: (one.at, one.worker_id, one.reason))

    async def due_deliveries(self, *, now: float, limit: int) -> list[Delivery]:
        due = [one for one in self.world.deliveries.values() if one.done_at is None and one.due_at <= now]
        return sorted(due, key=lambda one: (one.due_at, one.id))[:limit]

    async def record_delivery(
        self, delivery_id: int, *, status: int | None, error: str | None, now: float, next_at: float | None
    ) -> None:
        before = self.world.deliveries.get(delivery_id)
        if before is None or before.done_at is not None:
            return
        self.world.tries.append((delivery_id, now, status, error))
        again_at = next_at if error is not None else None
        self.world.deliveries[delivery_id] = replace(
            before,
            tries=before.tries + 1,
            last_error=error,
            due_at=before.due_at if again_at is None else again_at,
            done_at=now if again_at is None else None,
        )

    async def list_deliveries(self, job_id: str) -> list[Delivery]:
        return [one for one in self.world.deliveries.values() if one.job_id == job_id]

    async def add_upload(self, upload: Upload) -> None:
        if upload.id in self.world.uploads:
            raise Duplicate("an upload with this id is there already")
        self.world.uploads[upload.id] = upload

    async def get_upload(self, upload_id: str) -> Upload | None:
        return self.world.uploads.get(upload_id)

    async def add_key(self, key: ApiKey) -> None:
        if key.id in self.world.keys or await self.find_key(key.hash):
            raise Duplicate("a key with this id or this secret is there already")
        self.world.keys[key.id] = key

    async def find_key(self, key_hash: str) -> ApiKey | None:
        return next((one for one in self.world.keys.values() if one.hash == key_hash), None)

    async def list_keys(self) -> list[ApiKey]:
        return sorted(self.world.keys.values(), key=lambda one: (one.created_at, one.id))

    async def read_setting(self, name: str) -> Any | None:
        return copy.deepcopy(self.world.settings.get(name))

    async def write_setting(self, name: str, value: Any, *, who: str, now: float) -> None:
        self.world.settings[name] = copy.deepcopy(value)
        self.record(moves.setting_written(name, who, now))

    async def purge(self, *, finished_before: float, now: float) -> Purged:
        jobs = self._old_jobs(finished_before)
        uploads = sorted(
            (one for one in self.world.uploads.values() if one.expires_at <= now),
            key=lambda one: one.expires_at,
        )[: rules.BATCH_MAX]
        workers = [
            one.id
            for one in self.world.workers.values()
            if one.state is WorkerState.GONE and one.state_at < finished_before
        ][: rules.BATCH_MAX]
        keys = [file.key for job in jobs if job.result for file in job.result.files]
        self._forget_jobs({job.id for job in jobs})
        self._forget_workers(set(workers))
        for upload in uploads:
            del self.world.uploads[upload.id]
        faults = self.world.host_faults.items()
        self.world.host_faults = {key: one for key, one in faults if one.at >= finished_before}
        keys += [upload.key for upload in uploads]
        return Purged(tuple(keys), tuple(job.id for job in jobs), len(workers))

    def _old_jobs(self, finished_before: float) -> list[Job]:
        old = [
            job
            for job in self.world.jobs.values()
            if job.finished_at is not None and job.finished_at < finished_before
        ]
        return sorted(old, key=lambda job: job.finished_at or 0.0)[: rules.BATCH_MAX]

    def _forget_jobs(self, ids: set[str]) -> None:
        world = self.world
        world.jobs = {name: job for name, job in world.jobs.items() if name not in ids}
        world.attempts = {number: one for number, one in world.attempts.items() if one.job_id not in ids}
        world.deliveries = {number: one for number, one in world.deliveries.items() if one.job_id not in ids}
        world.events = [one for one in world.events if one.job_id not in ids]
        world.by_key = {key: made for key, made in world.by_key.items() if made[0] not in ids}
        needed = {job.need for job in world.jobs.values()}
        world.groups = {need: number for need, number in world.groups.items() if need in needed}

    def _forget_workers(self, ids: set[str]) -> None:
        world = self.world
        world.workers = {name: one for name, one in world.workers.items() if name not in ids}
        world.events = [one for one in world.events if one.job_id is not None or one.worker_id not in ids]

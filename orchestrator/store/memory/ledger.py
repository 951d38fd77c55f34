"""The model's events, host faults, deliveries, settings, and what it forgets."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.store import changes, moves, rules
from orchestrator.store.memory.world import Model
from orchestrator.store.past import PLANS_KEPT_S
from orchestrator.store.people import By
from orchestrator.store.rows import Delivery, DeliveryState, DeliveryTry, Event, HostFault, Job, Purged
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
        self.world.tries.setdefault(delivery_id, []).append(DeliveryTry(now, status, error))
        again_at = next_at if error is not None else None
        self.world.deliveries[delivery_id] = replace(
            before,
            tries=before.tries + 1,
            last_error=error,
            due_at=before.due_at if again_at is None else again_at,
            done_at=now if again_at is None else None,
            held_since=before.held_since if status is None else None,
        )

    async def put_off_deliveries(
        self, delivery_ids: Sequence[int], *, until: float | None, reason: str | None, now: float
    ) -> None:
        for number in delivery_ids:
            before = self.world.deliveries.get(number)
            if before is None or before.done_at is not None:
                continue
            self.world.deliveries[number] = replace(
                before,
                due_at=before.due_at if until is None else until,
                done_at=now if until is None else None,
                last_error=reason or before.last_error,
                held_since=(before.held_since or now) if reason else before.held_since,
            )

    async def list_deliveries(
        self,
        job_id: str | None = None,
        *,
        owner: str | None = None,
        state: DeliveryState | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[Delivery]:
        found = [
            one
            for one in self.world.deliveries.values()
            if job_id in (None, one.job_id)
            and owner in (None, one.owner)
            and state in (None, _state(one))
            and one.id > after
        ]
        return found[:limit]

    async def get_delivery(self, delivery_id: int) -> Delivery | None:
        return self.world.deliveries.get(delivery_id)

    async def list_delivery_tries(self, delivery_id: int) -> list[DeliveryTry]:
        return list(self.world.tries.get(delivery_id, []))

    async def replay_delivery(self, delivery_id: int, *, by: By | None, now: float) -> Delivery | None:
        before = self.world.deliveries.get(delivery_id)
        if before is None:
            return None
        after = replace(before, due_at=now, tries=0, done_at=None, last_error=None, held_since=None)
        self.world.deliveries[delivery_id] = after
        self.audit(by, changes.replayed(before, after, now))
        return after

    async def read_setting(self, name: str) -> Any | None:
        return copy.deepcopy(self.world.settings.get(name))

    async def write_setting(
        self, name: str, value: Any, *, who: str, now: float, by: By | None = None
    ) -> None:
        before = self.world.settings.get(name)
        self.world.settings[name] = copy.deepcopy(value)
        self.record(moves.setting_written(name, who, now))
        self.audit(by, changes.setting_written(name, before, value, now))

    async def note(self, name: str, value: Any, *, now: float) -> None:  # noqa: ARG002
        self.world.settings[name] = copy.deepcopy(value)

    async def forget_job(self, job_id: str, *, now: float, by: By | None = None) -> Purged | None:
        job = self.world.jobs.get(job_id)
        if job is None or job.finished_at is None:
            return None
        self._forget_jobs({job_id})
        self.audit(by, changes.forgotten(job, now))
        return Purged(tuple(_keys(job)), (job_id,), 0)

    async def purge(self, *, finished_before: float, now: float) -> Purged:
        jobs = self._old_jobs(finished_before)
        uploads = sorted(
            (one for one in self.world.uploads.values() if one.expires_at <= now),
            key=lambda one: (one.expires_at, one.id),
        )[: rules.BATCH_MAX]
        workers = [
            one.id
            for one in self.world.workers.values()
            if one.state is WorkerState.GONE and one.state_at < finished_before
        ][: rules.BATCH_MAX]
        keys = [key for job in jobs for key in _keys(job)]
        self._forget_jobs({job.id for job in jobs})
        self._forget_workers(set(workers))
        for upload in uploads:
            del self.world.uploads[upload.id]
        faults = self.world.host_faults.items()
        self.world.host_faults = {key: one for key, one in faults if one.at >= finished_before}
        keys += [upload.key for upload in uploads]
        self._forget_ledgers(now)
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

        for given in world.aliases.values():
            for target in ids & given.keys():
                del given[target]
        world.tries = {number: one for number, one in world.tries.items() if number in world.deliveries}

    def _forget_ledgers(self, now: float) -> None:
        world = self.world
        world.audit = [one for one in world.audit if one.at >= now - rules.AUDIT_KEPT_S]
        world.plans = [one for one in world.plans if one.at >= now - PLANS_KEPT_S]
        world.spending = [one for one in world.spending if one.held_until >= now - rules.SPENDING_KEPT_S]

    def _forget_workers(self, ids: set[str]) -> None:
        world = self.world
        world.workers = {name: one for name, one in world.workers.items() if name not in ids}
        world.events = [one for one in world.events if one.job_id is not None or one.worker_id not in ids]


def _state(one: Delivery) -> DeliveryState:
    if one.done_at is None:
        return DeliveryState.PENDING
    return DeliveryState.ARRIVED if one.last_error is None else DeliveryState.FAILED


def _keys(job: Job) -> list[str]:
    return [file.key for file in job.result.files] if job.result else []

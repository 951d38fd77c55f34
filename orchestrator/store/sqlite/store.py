"""The store's verbs on SQLite: which of them write, which read. What each does is in the modules beside."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from gpulease.contract.jobs import Fault, Result
from orchestrator.store import rows, rules
from orchestrator.store.moves import US
from orchestrator.store.past import PastJob, PlanRow
from orchestrator.store.people import By
from orchestrator.store.sqlite import (
    attempts,
    claims,
    events,
    fleet,
    leases,
    limits,
    outbox,
    records,
    retention,
    workers,
)
from orchestrator.store.sqlite import jobs as jobs_table
from orchestrator.store.sqlite.accounts import loads
from orchestrator.store.sqlite.accounts.verbs import SqliteAccounts
from orchestrator.store.sqlite.connection.migrations import migrate
from orchestrator.store.sqlite.connection.opening import BUSY_S_DEFAULT, open_database
from orchestrator.store.sqlite.connection.readers import Readers
from orchestrator.store.sqlite.connection.writer import Writer
from orchestrator.store.sqlite.past import plans, work
from provider_clients.base import Receipt
from scaling.limits import NO_LIMITS, RunningLimits
from scaling.place import NO_HOLDS, Holds, Patience
from scaling.states import JobState


async def open_sqlite(path: Path, *, busy_s: float = BUSY_S_DEFAULT) -> "SqliteStore":
    """Opens or makes the database (mode 0600, and its folder), and brings its schema up to date.

    Args:
        path: the file.
        busy_s: how long a verb waits for a lock that another process holds, before `StoreBusy`.

    Raises:
        StoreBusy: another process held it for longer than that.
        SchemaTooNew: a newer version of this program wrote it.
    """
    return await asyncio.to_thread(SqliteStore, path, busy_s)


def _prepare(database: Database) -> None:
    migrate(database)
    attempts.skip_ids(database)


class SqliteStore(SqliteAccounts):
    """See `orchestrator.store.protocol.Store`. Opened by `open_sqlite`; belongs to no loop in particular."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self._writer = Writer(open_database(path, busy_s, _prepare))
        self._readers = Readers(path, busy_s)

    async def aclose(self) -> None:
        await self._writer.aclose()
        await self._readers.aclose()

    # Jobs

    async def submit_jobs(self, jobs: Sequence[rows.NewJob], *, by: By | None = None) -> list[rows.Submitted]:
        return await self._writer.do_durably(jobs_table.submit, jobs, by)

    async def get_job(self, job_id: str) -> rows.Job | None:
        return self._readers.point(jobs_table.get, job_id)

    async def find_submitted(self, owner: str, idempotency_key: str) -> rows.Job | None:
        return self._readers.point(jobs_table.by_key, owner, idempotency_key)

    async def list_jobs(
        self, which: rows.JobFilter, *, before: tuple[float, str] | None, limit: int
    ) -> list[rows.Job]:
        return await self._readers.do(fleet.list_jobs, which, before, limit)

    async def list_attempts(self, job_id: str) -> list[rows.Attempt]:
        return self._readers.point(attempts.listed, job_id)

    async def cancel_job(  # noqa: PLR0913
        self,
        job_id: str,
        *,
        who: str,
        reason: str,
        now: float,
        code: str = "cancelled",
        by: By | None = None,
    ) -> rows.Job | None:
        ending = jobs_table.Ending(JobState.CANCELLED, who, now, rules.cancelled(reason, code))
        return await self._writer.do_durably(limits.cancel, job_id, ending, by)

    async def forget_job(self, job_id: str, *, now: float, by: By | None = None) -> rows.Purged | None:
        return await self._writer.do_durably(retention.forget_job, job_id, now, by)

    async def load_of(self, *, owner: str | None = None, project: str | None = None) -> rows.Load:
        return self._readers.point(loads.load, owner, project)

    async def spent_by(
        self, *, since: float, now: float, owner: str | None = None, project: str | None = None
    ) -> float:
        return await self._readers.do(loads.spent, owner, project, since, now)

    async def end_overdue_jobs(self, *, now: float) -> list[rows.Job]:
        return await self._writer.do(limits.end_overdue, now)

    # Attempts

    async def claim_job(  # noqa: PLR0913
        self,
        worker_id: str,
        incarnation: str,
        nonce: str,
        *,
        resident: tuple[str, ...],
        now: float,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> rows.Claimed | None:
        asker = claims.Asker(worker_id, incarnation, nonce, resident)
        return await self._writer.do(claims.claim, asker, now, claims.Bounds(limits, holds, patience))

    async def peek_next(
        self,
        worker_id: str,
        *,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> rows.Job | None:
        return await self._readers.do(claims.peek, worker_id, claims.Bounds(limits, holds, patience))

    async def get_attempt(self, attempt_id: int) -> rows.Claimed | None:
        return self._readers.point(attempts.get, attempt_id)

    async def report_progress(self, held: rows.Held, progress: rows.Progress, *, now: float) -> rows.Verdict:
        return await self._writer.do(attempts.report, held, progress, now)

    async def finish_attempt(
        self, held: rows.Held, *, result: Result | None, fault: Fault | None, now: float
    ) -> rows.Verdict:
        return await self._writer.do_durably(attempts.finish, held, result, fault, now)

    async def lose_attempts(
        self, worker_id: str, *, keep: tuple[int, ...], reason: str, now: float
    ) -> list[str]:
        return await self._writer.do(attempts.lose_all, worker_id, keep, reason, now)

    async def lose_attempt(self, attempt_id: int, *, reason: str, now: float) -> rows.Job | None:
        return await self._writer.do(attempts.lose_one, attempt_id, reason, now)

    # Workers

    async def intend_worker(self, worker: rows.NewWorker) -> None:
        await self._writer.do_durably(workers.intend, worker)

    async def move_worker(self, worker_id: str, move: rows.WorkerMove, *, now: float) -> bool:
        return await self._writer.do_durably(workers.move, worker_id, move, now)

    async def enrol_worker(self, enrolment: rows.Enrolment) -> bool:
        return await self._writer.do_durably(workers.enrol, enrolment)

    async def rekey_worker(self, worker_id: str, key_hash: str) -> None:
        await self._writer.do_durably(workers.rekey, worker_id, key_hash)

    async def note_instance(self, worker_id: str, facts: rows.InstanceFacts) -> None:
        await self._writer.do_durably(workers.note_instance, worker_id, facts)

    async def known_instances(self, provider: str) -> dict[str, str]:
        return await self._readers.do(workers.known_instances, provider)

    async def register_worker(self, worker_id: str, registration: rows.Registration, *, now: float) -> bool:
        return await self._writer.do(workers.register, worker_id, registration, now)

    async def record_beats(self, beats: Sequence[rows.Beat]) -> dict[str, bool]:
        return await self._writer.do(workers.record_beats, beats)

    async def note_claim(self, worker_id: str, *, now: float) -> None:
        await self._writer.do(workers.note_claim, worker_id, now)

    async def pause_worker(
        self, worker_id: str, *, paused: bool, who: str, now: float, by: By | None = None
    ) -> bool:
        pause = workers.Pause(paused, who, now, by)
        return await self._writer.do_durably(workers.pause, worker_id, pause)

    async def note_probe(self, worker_id: str, *, healthy: bool) -> None:
        await self._writer.do(workers.note_probe, worker_id, healthy=healthy)

    async def record_host_fault(self, fault: rows.HostFault) -> None:
        await self._writer.do(records.add_host_fault, fault)

    async def list_host_faults(self, *, since: float) -> list[rows.HostFault]:
        return await self._readers.do(records.host_faults, since)

    async def get_worker(self, worker_id: str) -> rows.Worker | None:
        return self._readers.point(workers.get, worker_id)

    async def list_worker_attempts(self, worker_id: str) -> list[rows.Attempt]:
        return await self._readers.do(attempts.listed_of_worker, worker_id)

    async def list_workers(self, *, include_gone: bool, limit: int) -> list[rows.Worker]:
        return await self._readers.do(workers.listed, limit, include_gone=include_gone)

    async def read_fleet(self) -> rows.Fleet:
        return await self._readers.do(fleet.read)

    # Events, money, webhooks

    async def list_events(
        self, *, job_id: str | None = None, worker_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[rows.Event]:
        return await self._readers.do(events.listed, job_id, worker_id, after, limit)

    async def list_leases(self, *, since: float) -> list[rows.Lease]:
        return await self._readers.do(leases.listed, since)

    async def get_lease(self, worker_id: str) -> rows.Lease | None:
        return await self._readers.do(leases.get, worker_id)

    async def note_receipt(self, worker_id: str, receipt: Receipt) -> None:
        await self._writer.do_durably(leases.note_receipt, worker_id, receipt)

    async def record_lease(self, lease: rows.Lease) -> None:
        await self._writer.do_durably(leases.record, lease)

    async def due_deliveries(self, *, now: float, limit: int) -> list[rows.Delivery]:
        return await self._readers.do(outbox.due, now, limit)

    async def record_delivery(
        self, delivery_id: int, *, status: int | None, error: str | None, now: float, next_at: float | None
    ) -> None:
        await self._writer.do_durably(outbox.record, outbox.Try(delivery_id, status, error, now, next_at))

    async def put_off_deliveries(
        self, delivery_ids: Sequence[int], *, until: float | None, reason: str | None, now: float
    ) -> None:
        await self._writer.do_durably(outbox.put_off, outbox.PutOff(tuple(delivery_ids), until, reason, now))

    async def list_deliveries(
        self,
        job_id: str | None = None,
        *,
        owner: str | None = None,
        state: rows.DeliveryState | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[rows.Delivery]:
        which = outbox.Which(job_id, owner, state, after)
        return await self._readers.do(outbox.listed, which, limit)

    async def get_delivery(self, delivery_id: int) -> rows.Delivery | None:
        return self._readers.point(outbox.get, delivery_id)

    async def list_delivery_tries(self, delivery_id: int) -> list[rows.DeliveryTry]:
        return await self._readers.do(outbox.tries, delivery_id)

    async def replay_delivery(self, delivery_id: int, *, by: By | None, now: float) -> rows.Delivery | None:
        return await self._writer.do_durably(outbox.replay, delivery_id, by, now)

    # Policy, plans, retention

    async def read_setting(self, name: str) -> Any | None:
        return self._readers.point(records.read_setting, name)

    async def write_setting(
        self, name: str, value: Any, *, who: str, now: float, by: By | None = None
    ) -> None:
        await self._writer.do_durably(records.write_setting, records.Setting(name, value, who, now), by)

    async def note(self, name: str, value: Any, *, now: float) -> None:
        await self._writer.do(records.note, records.Setting(name, value, US, now))

    async def record_plan(self, record: dict[str, Any], *, at: float) -> int:
        return await self._writer.do(plans.record, record, at)

    async def list_plans(
        self, *, before: int | None = None, until: float | None = None, limit: int = 100
    ) -> list[PlanRow]:
        return await self._readers.do(plans.listed, before, until, limit)

    async def get_plan(self, plan_id: int) -> PlanRow | None:
        return self._readers.point(plans.get, plan_id)

    async def finished_work(self, *, since: float, limit: int) -> list[PastJob]:
        return await self._readers.do(work.done, since, limit)

    async def purge(self, *, finished_before: float, now: float) -> rows.Purged:
        return await self._writer.do(retention.purge, finished_before, now)

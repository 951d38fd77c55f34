"""Look: reads the store and the market into one frozen snapshot. Decides nothing and moves nothing."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from orchestrator.clock import Clock
from orchestrator.fleet.costs import usd_between
from orchestrator.fleet.market import Market
from orchestrator.jobs.dispatch import Dispatcher, view_of
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Attempt, BootTime, Fleet, Job, QueuedGroup, ServiceTime, Worker
from scaling.estimate import estimate
from scaling.snapshot import Estimate, Estimates, JobGroup, Running, Snapshot, WorkerView

DAY_S = 86_400.0
SERVICE_PRIOR = Estimate(mean_s=30.0, p90_s=90.0)
BOOT_PRIOR = Estimate(mean_s=60.0, p90_s=180.0)
LOCAL_BOOT_PRIOR = Estimate(mean_s=2.0, p90_s=5.0)
"""A process on this machine boots in about two seconds."""


class Observer:
    def __init__(self, store: Store, clock: Clock, market: Market, dispatcher: Dispatcher) -> None:
        self._store = store
        self._clock = clock
        self._market = market
        self._dispatcher = dispatcher
        self.born = clock.now()
        self._dice = random.Random()  # noqa: S311  Delays need no secrecy.

    async def observe(self) -> tuple[Snapshot, Fleet]:
        now = self._clock.now()
        fleet = await self._store.read_fleet()
        leases = await self._store.list_leases(since=now - DAY_S)
        snapshot = Snapshot(
            groups=tuple(_group(one, now) for one in fleet.groups),
            workers=self._workers(fleet, now),
            offers=self._market.offers(),
            estimates=estimates(fleet.service, fleet.boot),
            usd_today=sum(usd_between(lease, now - DAY_S, now) for lease in leases),
            draws=tuple(self._dice.random() for _ in range(64)),
        )
        return snapshot, fleet

    def _workers(self, fleet: Fleet, now: float) -> tuple[WorkerView, ...]:
        running: dict[str, list[Running]] = defaultdict(list)
        uploading: Counter[str] = Counter()
        for attempt, job in fleet.attempts:
            if attempt.slot_freed_at is None:
                running[attempt.worker_id].append(_running(attempt, job, now))
            else:
                uploading[attempt.worker_id] += 1
        return tuple(
            replace(self._worker(one, tuple(running[one.id]), now), uploading=uploading[one.id])
            for one in fleet.workers
        )

    def _worker(self, worker: Worker, running: tuple[Running, ...], now: float) -> WorkerView:
        """Silence counts from our own start at the earliest: what we did not listen to was not silent."""
        parked = worker.id in self._dispatcher.parked()
        freed = max(worker.last_finish_at or 0.0, worker.ready_at or 0.0)
        return replace(
            view_of(worker, worker.resident),
            running=running,
            state_age_s=max(0.0, now - worker.state_at),
            buy_in_s=max(0.0, worker.buy_at - now),
            idle_s=None if running or not worker.ready_at else max(0.0, now - freed),
            # A job that was cancelled ended the grace of a new worker as well as one that was done.
            jobs_done=max(worker.jobs_done, int(worker.last_finish_at is not None)),
            silent_s=self._since(worker.heartbeat_at, now),
            claim_silent_s=0.0 if parked else self._since(worker.claim_at, now),
            lease_age_s=max(0.0, now - worker.lease_from) if worker.lease_from else 0.0,
            lease_left_s=worker.lease_ends_at - now if worker.lease_ends_at else None,
            paused=worker.paused,
            probe_failures=worker.probe_failures,
        )

    def _since(self, at: float | None, now: float) -> float | None:
        return None if at is None else max(0.0, now - max(at, self.born))


def _group(group: QueuedGroup, now: float) -> JobGroup:
    return JobGroup(
        need=group.need,
        count=group.count,
        oldest_age_s=max(0.0, now - group.oldest_at),
        slack_s=group.must_start_by - now,
    )


def _running(attempt: Attempt, job: Job, now: float) -> Running:
    ends = min(attempt.started_at + job.max_time_s, job.complete_by)
    return Running(job.need.engine, job.need.model, max(0.0, now - attempt.started_at), max(0.0, ends - now))


def estimates(service: Iterable[ServiceTime], boot: Iterable[BootTime]) -> Estimates:
    """History, shrunk to the priors where there is little of it."""
    boots = {(one.provider, one.gpu_class): estimate(one.seconds, _boot_prior(one.provider)) for one in boot}
    boots.setdefault(("local", "cpu"), LOCAL_BOOT_PRIOR)
    return Estimates(
        service={
            (one.engine, one.model, one.gpu_class): estimate(one.seconds, SERVICE_PRIOR) for one in service
        },
        boot=boots,
    )


def _boot_prior(provider: str) -> Estimate:
    return LOCAL_BOOT_PRIOR if provider == "local" else BOOT_PRIOR

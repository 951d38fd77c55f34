"""Look: reads the store and the market into one frozen snapshot. Decides nothing and moves nothing."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.access.quotas import QuotaBook
from orchestrator.clock import Clock
from orchestrator.fleet.clouds.market import Market
from orchestrator.fleet.costs import usd_between
from orchestrator.fleet.targets import NO_PRIORS, Kind, Priors
from orchestrator.jobs.dispatch import Dispatcher, view_of
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Attempt, Fleet, Job, QueuedGroup, ServiceTime, Worker
from scaling.estimate import BOOT_PRIOR, LOAD_PRIOR, SERVICE_PRIOR, estimate, pool_estimate
from scaling.limits import count
from scaling.snapshot import Estimate, Estimates, JobGroup, Offer, Running, Snapshot, WorkerView

DAY_S = 86_400.0


@dataclass(slots=True)
class Observer:
    """`born` is when this process began to listen: what it did not hear before was not silent."""

    store: Store
    clock: Clock
    market: Market
    dispatcher: Dispatcher
    dice: random.Random
    born: float
    quotas: QuotaBook
    priors: Priors = NO_PRIORS

    async def observe(self) -> tuple[Snapshot, Fleet]:
        now = self.clock.now()
        fleet = await self.store.read_fleet()
        leases = await self.store.list_leases(since=now - DAY_S)
        await self.quotas.refresh(fleet)
        snapshot = Snapshot(
            groups=tuple(_group(one, now) for one in fleet.groups),
            workers=self._workers(fleet, now),
            offers=self.market.offers(),
            estimates=estimates(fleet, self.market.offers(), self.priors),
            usd_today=sum(usd_between(lease, now - DAY_S, now) for lease in leases),
            limits=self.quotas.limits(),
            running=count((job.need, 1) for _, job in fleet.attempts),
            draws=tuple(self.dice.random() for _ in range(64)),
            now_s=now,
            arrived=fleet.arrived,
            waits_s=self.dispatcher.waits.take(),
        )
        return snapshot, fleet

    def _workers(self, fleet: Fleet, now: float) -> tuple[WorkerView, ...]:
        held: dict[str, list[tuple[Attempt, Job]]] = defaultdict(list)
        for attempt, job in fleet.attempts:
            held[attempt.worker_id].append((attempt, job))
        return tuple(self._worker(one, held[one.id], now) for one in fleet.workers)

    def _worker(self, worker: Worker, held: Sequence[tuple[Attempt, Job]], now: float) -> WorkerView:
        """Silence counts from our own start at the earliest: what we did not listen to was not silent.

        A worker that only hands in what it made is idle from when its slot was free, not from its last finish.
        """
        running = tuple(_running(one, job, now) for one, job in held if one.slot_freed_at is None)
        freed_at = [one.slot_freed_at for one, _ in held if one.slot_freed_at is not None]
        parked = worker.id in self.dispatcher.parked()
        freed = max(worker.last_finish_at or 0.0, worker.ready_at or 0.0, *freed_at)
        return replace(
            view_of(worker, worker.resident, now),
            running=running,
            uploading=len(freed_at),
            state_age_s=max(0.0, now - worker.state_at),
            buy_in_s=max(0.0, worker.buy_at - now),
            idle_s=None if running or not worker.ready_at else max(0.0, now - freed),
            # A job that was cancelled ended the grace of a new worker as well as one that was done.
            jobs_done=max(worker.jobs_done, int(worker.last_finish_at is not None)),
            silent_s=self._since(worker.heartbeat_at, now),
            claim_silent_s=0.0 if parked else self._since(worker.claim_at, now),
            lease_age_s=max(0.0, now - worker.lease_from) if worker.lease_from else 0.0,
            paused=worker.paused or worker.id in self.dispatcher.resting,
            probe_failures=worker.probe_failures,
            hosted=worker.provider in self.market.hosted,
        )

    def _since(self, at: float | None, now: float) -> float | None:
        return None if at is None else max(0.0, now - max(at, self.born))


def _group(group: QueuedGroup, now: float) -> JobGroup:
    return JobGroup(
        need=group.need,
        count=group.count,
        oldest_age_s=max(0.0, now - group.oldest_at),
        slack_s=group.must_start_by - now,
        ages_s=tuple(max(0.0, now - at) for at in group.since),
    )


def _running(attempt: Attempt, job: Job, now: float) -> Running:
    ends = min(attempt.started_at + job.max_time_s, job.complete_by)
    run_s, left_s = max(0.0, now - attempt.started_at), max(0.0, ends - now)
    return Running(job.need.engine, job.need.model, run_s, left_s, attempt.loads, job.need.low_priority)


def estimates(fleet: Fleet, offers: Iterable[Offer], priors: Priors = NO_PRIORS) -> Estimates:
    """History, shrunk to the priors where there is little of it: what is told of that kind, or else the general."""
    booted = {(one.provider, one.gpu_class): one.boot_prior for one in offers if one.boot_prior is not None}
    seen = {(one.provider, one.gpu_class): one.seconds for one in fleet.boot}
    return Estimates(
        service=_learned(fleet.service, priors.service, SERVICE_PRIOR),
        load=_learned(fleet.load, priors.load, LOAD_PRIOR),
        boot={
            kind: estimate(seen.get(kind, ()), booted.get(kind, BOOT_PRIOR))
            for kind in sorted(seen.keys() | booted.keys())
        },
    )


def _learned(
    times: Iterable[ServiceTime], priors: Mapping[Kind, Estimate], general: Estimate
) -> dict[Kind, Estimate]:
    """A model is shrunk to what is told of it, else to what its engine takes on its class with any model."""
    seen = {(one.engine, one.model, one.gpu_class): one.seconds for one in times}
    alike: dict[tuple[str, str], list[Sequence[float]]] = {}
    for (engine, _, gpu_class), seconds in seen.items():
        alike.setdefault((engine, gpu_class), []).append(seconds)
    pools = {key: pool_estimate(kinds, general) for key, kinds in alike.items()}
    kinds = sorted(seen.keys() | priors.keys())
    return {
        kind: estimate(seen.get(kind, ()), priors.get(kind) or pools.get((kind[0], kind[2]), general))
        for kind in kinds
    }

"""The loop: observe, decide, check, apply. Its retry is its next turn."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from gpulease.contract.engines import CATALOGUE
from orchestrator.apply import Applier
from orchestrator.fleet.agents import Agents
from orchestrator.observe import Observer
from orchestrator.plans.book import PlanBook
from orchestrator.plans.record import PlanRecord
from orchestrator.policy import PolicyBook
from orchestrator.store.rows import Attempt, Fleet, Job, Worker
from scaling.check import check
from scaling.decide import decide
from scaling.place import runnable
from scaling.snapshot import Need, Snapshot
from scaling.states import AttemptState

UNHELD_S_MAX = 30.0
"""How long an attempt may be missing from its worker's list: a claim's reply may still be on its way."""
LOOK_AGAIN_S_MIN = 0.05
log = structlog.get_logger()


class Reconciler:
    def __init__(self, observer: Observer, applier: Applier, agents: Agents, policy: PolicyBook) -> None:
        self._observer = observer
        self._applier = applier
        self._agents = agents
        self._policy = policy
        self._store = applier.store
        self._plans = PlanBook(applier.store)
        self._clock = applier.clock
        self.last: PlanRecord | None = None
        self.look_again: Callable[[float | None], None] = lambda _seconds: None

    async def step(self) -> None:
        await self._end_overdue()
        dispatcher = self._applier.dispatcher
        dispatcher.look()
        try:
            snapshot, fleet = await self._observer.observe()
            await self._lose_stale(fleet)
            made = self._decide(snapshot)
        except Exception:
            dispatcher.unhold()
            raise
        try:
            await self._applier.apply(made.plan)
        finally:
            await self._write_down(made)

    def _decide(self, snapshot: Snapshot) -> PlanRecord:
        """The plan, checked. What it holds and when it wants to look again holds from here on."""
        policy = self._policy.current
        snapshot = replace(snapshot, memory=self._policy.memory.of(policy.name))
        plan = decide(snapshot, policy)
        check(snapshot, policy, plan)
        self.last = PlanRecord(self._clock.now(), policy, snapshot, plan)
        self._applier.dispatcher.follow(snapshot, plan)
        again_s = plan.look_again_s
        self.look_again(None if again_s is None else max(LOOK_AGAIN_S_MIN, again_s))
        return self.last

    async def _write_down(self, made: PlanRecord) -> None:
        """What the policy remembers, and what explains the plan: notes, for which no machine is kept waiting."""
        await self._policy.memory.keep(made.policy.name, made.plan.memory)
        await self._plans.keep(made)

    async def _end_overdue(self) -> None:
        for job in await self._store.end_overdue_jobs(now=self._clock.now()):
            log.info("job_overdue", job=job.id, state=job.state.value)
            self._agents.feed.publish(job.id)

    async def _lose_stale(self, fleet: Fleet) -> None:
        """Attempts that stalled, or that their worker does not know of, go to other machines."""
        workers = {one.id: one for one in fleet.workers}
        for attempt, job in fleet.attempts:
            if reason := self._lost(attempt, job, workers[attempt.worker_id]):
                lost = await self._store.lose_attempt(attempt.id, reason=reason, now=self._clock.now())
                if lost is not None:
                    log.warning("attempt_lost", job=job.id, attempt=attempt.id, reason=reason)
                    self._agents.feed.publish(job.id)
                    self._applier.dispatcher.look_again()

    def _lost(self, attempt: Attempt, job: Job, worker: Worker) -> str | None:
        now = self._clock.now()
        silent_s = now - max(worker.heartbeat_at or 0.0, self._observer.born)
        if worker.owned and silent_s > self._policy.current.silent_s_max:
            return f"its owner's machine is offline: no heartbeat for {silent_s:.0f} s"
        held = self._agents.held.get(attempt.worker_id)
        if (
            held is not None
            and attempt.id not in held.attempts
            and held.at - attempt.started_at > UNHELD_S_MAX
            and attempt.state is AttemptState.RUNNING
        ):
            return "its worker does not hold it"
        stalled_s = CATALOGUE[job.need.engine].stalled_after_s
        heard = max(attempt.reported_at, self._observer.born)
        if attempt.slot_freed_at is None and now - heard > stalled_s:
            return f"no progress for {stalled_s:.0f} s"
        return None

    def blocked(self, need: Need) -> str | None:
        """Why nothing covers this need, by the last plan; None where something does, or no plan is made yet."""
        if self.last is None:
            return None
        for block in self.last.plan.blocked:
            if block.need == need:
                return block.reason
        return self._unserved(need, self.last.snapshot)

    @staticmethod
    def _unserved(need: Need, snapshot: Snapshot) -> str | None:
        """For a need that no plan has seen yet, as `strict` asks about."""
        if any(runnable(need, one, one.id) for one in snapshot.workers):
            return None
        if any(runnable(need, one) for one in snapshot.offers):
            return None
        return f"No configured provider or worker runs engine {need.engine!r} with what this job asks for."

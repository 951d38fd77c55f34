"""What is looked back on in the model: plans, and how finished jobs went."""

import copy
from typing import Any

from orchestrator.store import rules
from orchestrator.store.memory.world import Model
from orchestrator.store.past import PLANS_MAX, PastJob, PlanRow
from orchestrator.store.rows import Job
from scaling.states import JobState


class PastVerbs(Model):
    async def record_plan(self, record: dict[str, Any], *, at: float) -> int:
        world = self.world
        world.plans_made += 1
        world.plans.append(PlanRow(world.plans_made, at, copy.deepcopy(record)))
        del world.plans[:-PLANS_MAX]
        return world.plans_made

    async def list_plans(
        self, *, before: int | None = None, until: float | None = None, limit: int = 100
    ) -> list[PlanRow]:
        found = [
            one
            for one in reversed(self.world.plans)
            if (before is None or one.id < before) and (until is None or one.at <= until)
        ]
        return copy.deepcopy(found[:limit])

    async def get_plan(self, plan_id: int) -> PlanRow | None:
        found = [one for one in self.world.plans if one.id == plan_id]
        return copy.deepcopy(found[0]) if found else None

    async def finished_work(self, *, since: float, limit: int) -> list[PastJob]:
        done = [
            job
            for job in self.world.jobs.values()
            if job.state is JobState.SUCCEEDED and job.created_at >= since
        ]
        latest = sorted(done, key=lambda job: (job.created_at, job.id))[-limit:]
        return [self._past_job(job) for job in latest]

    def _past_job(self, job: Job) -> PastJob:
        attempt = self.world.attempts[job.attempt_id or 0]
        worker = self.world.workers.get(attempt.worker_id)
        slot_s = rules.slot_s(attempt, attempt.ended_at or attempt.started_at)
        load_s = rules.load_s(job.result, slot_s)
        return PastJob(
            need=job.need,
            created_at=job.created_at,
            complete_by=job.complete_by,
            start_by=job.start_by,
            gpu_class=worker.gpu_class if worker else "",
            service_s=slot_s - (load_s or 0.0),
            load_s=load_s,
        )

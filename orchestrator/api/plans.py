"""/v1/plan, /v1/plans, /v1/policy/try: what plans saw, decided and left undone, and what others would have done."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, Field

from gpulease.contract.base import Wire
from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Operator, Shared
from orchestrator.api.edge.cursors import ID_MAX
from orchestrator.api.views import moment
from orchestrator.plans.record import explained
from orchestrator.policy import PolicyBody
from orchestrator.store.past import PlanRow

router = APIRouter(prefix="/v1", tags=["fleet"])
SHORT = ("actions", "actions_left_out", "blocked", "blocked_left_out", "not_done")


@router.get("/plan")
async def plan(parts: Shared, _: Operator) -> dict[str, Any]:
    """The last plan: what was seen, what was decided and why, and what was not done and why."""
    last = parts.reconciler.last
    if last is None:
        return {
            "at": None,
            "actions": [],
            "blocked": [],
            "holds": [],
            "look_again_s": None,
            "patience_s": None,
            "load_s": None,
        }
    return {"at": moment(last.at).isoformat(), **explained(last)}


@router.get("/plans")
async def plans(
    parts: Shared,
    _: Operator,
    before: Annotated[
        int | None, Query(ge=0, le=ID_MAX, description="The next_before of the page before.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(description="Made at this time or before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Newest first, for seven days: plans that did something, or whose blocks were new. What they saw is at each."""
    # What is shown of a time is its microseconds, and who asks with it means that plan too.
    seconds = until.timestamp() + 1e-6 if until else None
    found = await parts.store.list_plans(before=before, until=seconds, limit=limit + 1)
    page = found[:limit]
    return {
        "items": [_short(one) for one in page],
        "next_before": page[-1].id if len(found) > limit else None,
    }


@router.get("/plans/{plan_id}")
async def one_plan(
    parts: Shared, plan_id: Annotated[int, Path(ge=0, le=ID_MAX)], _: Operator
) -> dict[str, Any]:
    """One past plan whole, with what it saw."""
    found = await parts.store.get_plan(plan_id)
    if found is None:
        raise ProblemError(404, "There is no such plan", "It never was, or is forgotten; see /v1/plans.")
    return {"id": found.id, "at": moment(found.at).isoformat(), **found.record}


class TryBody(Wire):
    """The body of `POST /v1/policy/try`. `policy` is whole, as for `PUT /v1/policy`."""

    policy: PolicyBody
    hours: float = Field(default=24, gt=0, le=31 * 24, description="Jobs that came since then.")
    seeds: int = Field(
        default=3, ge=1, le=10, description="Runs with different luck, of which the mean is told."
    )


@router.post("/policy/try")
async def try_policy(parts: Shared, body: TryBody, _: Operator) -> dict[str, Any]:
    """What this policy and the one in force would have made of the jobs of the last hours. Nothing is changed."""
    in_force = parts.policy.current
    told = await parts.trials.compare((in_force, body.policy.policy()), body.hours, body.seeds)
    before, after = told.pop("figures")
    return {
        **told,
        "in_force": {"policy": asdict(in_force), "figures": before},
        "tried": {"policy": body.policy.model_dump(), "figures": after},
    }


def _short(row: PlanRow) -> dict[str, Any]:
    told = {name: row.record[name] for name in SHORT if name in row.record}
    return {"id": row.id, "at": moment(row.at).isoformat(), "policy": row.record["policy"]["name"], **told}

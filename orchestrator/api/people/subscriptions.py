"""/v1/subscriptions: what users of a kind may have."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from gpulease.contract.people import QuotaView, SubscriptionPage, SubscriptionRequest, SubscriptionView
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Admin, Shared
from orchestrator.api.edge.cursors import ID_MAX, Limit, cut_after, place_of
from orchestrator.parts import Parts
from orchestrator.store.errors import Duplicate, Missing
from orchestrator.store.people import Quota, Subscription

router = APIRouter(prefix="/v1/subscriptions", tags=["people"])
NEXT = 0
Number = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("")
async def list_subscriptions(
    parts: Shared, _: Admin, cursor: str | None = None, limit: Limit = 100
) -> SubscriptionPage:
    """By number. Number 1 is everybody's who was given no other."""
    rows = await parts.store.list_subscriptions()
    page, more = cut_after(rows, lambda one: one.id, place_of(cursor, int), limit)
    return SubscriptionPage(items=tuple(subscription_view(one) for one in page), next_cursor=more)


@router.post("", status_code=201)
async def create_subscription(
    parts: Shared, body: SubscriptionRequest, caller: Admin, response: Response
) -> SubscriptionView:
    """Makes one; users are given it by its number."""
    made = await _put(parts, NEXT, body, caller)
    response.headers["Location"] = f"/v1/subscriptions/{made.id}"
    return made


@router.put("/{number}")
async def replace_subscription(
    parts: Shared, number: Number, body: SubscriptionRequest, caller: Admin
) -> SubscriptionView:
    """Replaces it for all who have it."""
    if number not in {one.id for one in await parts.store.list_subscriptions()}:
        raise ProblemError(
            404, "There is no such subscription", f"None has the number {number}.", type="/problems/not-found"
        )
    return await _put(parts, number, body, caller)


async def _put(parts: Parts, number: int, body: SubscriptionRequest, caller: Caller) -> SubscriptionView:
    asked = Subscription(number, body.name, quota_of(body.quota), body.requests_per_s)
    try:
        made = await parts.store.put_subscription(asked, by=caller.by, now=parts.clock.now())
    except Duplicate:
        raise ProblemError(
            409, "This name is taken", f"There is a subscription {body.name!r}.", type="/problems/conflict"
        ) from None
    await parts.quotas.refresh()
    return subscription_view(made)


async def find_subscription(parts: Parts, number: int) -> Subscription:
    """Raises:
    Missing: there is none of that number.
    """
    for one in await parts.store.list_subscriptions():
        if one.id == number:
            return one
    raise Missing(f"subscription {number}")


async def check_subscription(parts: Parts, number: int) -> None:
    """Raises:
    ProblemError: 422 naming the field.
    """
    try:
        await find_subscription(parts, number)
    except Missing:
        message = f"there is no subscription {number}; /v1/subscriptions lists them"
        raise invalid([FieldFault(field="subscription", message=message)]) from None


def subscription_view(row: Subscription) -> SubscriptionView:
    return SubscriptionView(
        id=row.id, name=row.name, quota=quota_view(row.quota), requests_per_s=row.requests_per_s
    )


def quota_of(view: QuotaView) -> Quota:
    return Quota(view.queued_max, view.running_max, view.usd_per_day_max)


def quota_view(quota: Quota) -> QuotaView:
    return QuotaView(
        queued_max=quota.queued_max, running_max=quota.running_max, usd_per_day_max=quota.usd_per_day_max
    )

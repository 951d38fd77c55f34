"""/v1/webhooks: what was told of one's jobs, every try of it, and the secret that signs it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from gpulease.contract.problems import ProblemError
from gpulease.contract.webhooks import (
    DeliveryDetail,
    DeliveryPage,
    DeliveryStatus,
    DeliveryView,
    ReplayReply,
    ReplayRequest,
    SecretView,
    TryView,
)
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Person, Shared, forbidden, needs
from orchestrator.api.edge.cursors import ID_MAX, Limit, cut, place_of
from orchestrator.api.views import moment
from orchestrator.parts import Parts
from orchestrator.store.people import User
from orchestrator.store.rows import Delivery, DeliveryState
from orchestrator.webhooks.sign import BOTH_S, message_id, secrets_of

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
REPLAYED_MAX = 1_000
AT_ONCE = 50
PAGE = 500
Number = Annotated[int, Path(ge=1, le=ID_MAX)]
Whose = Annotated[
    str | None, Query(max_length=100, description="A user's id, for operators; else everybody's.")
]
Doer = Annotated[Caller, Depends(needs("submitter", "people"))]
"""Who may have jobs, and so secrets: a key that only looks must not forge what we say."""


@router.get("/deliveries")
async def list_deliveries(
    parts: Shared,
    caller: Person,
    state: DeliveryStatus | None = None,
    job_id: Annotated[str | None, Query(max_length=100)] = None,
    owner: Whose = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> DeliveryPage:
    """Oldest first. `failed` are those that were given up; they can be replayed."""
    found = await parts.store.list_deliveries(
        job_id,
        owner=_whose(caller, owner),
        state=None if state is None else DeliveryState(state),
        after=place_of(cursor, int) or 0,
        limit=limit + 1,
    )
    page, more = cut(found, limit, lambda one: one.id)
    return DeliveryPage(items=tuple(delivery_view(one) for one in page), next_cursor=more)


@router.post("/deliveries/replay", status_code=202)
async def replay_many(parts: Shared, body: ReplayRequest, caller: Doer) -> ReplayReply:
    """Sends again what was given up, up to 1,000 at once, under the webhook ids that it had."""
    owner = _whose(caller, body.owner)
    since = body.since.timestamp() if body.since else 0.0
    chosen = await _given_up(parts, owner, body.job_id, lambda one: one.created_at >= since)
    now, count = parts.clock.now(), 0
    for first in range(0, min(len(chosen), REPLAYED_MAX), AT_ONCE):
        some = chosen[first : min(first + AT_ONCE, REPLAYED_MAX)]
        replayed = await asyncio.gather(
            *(parts.store.replay_delivery(one.id, by=caller.by, now=now) for one in some)
        )
        count += sum(one is not None for one in replayed)
    parts.loops.nudge("webhooks")
    return ReplayReply(count=count, more=len(chosen) > REPLAYED_MAX)


@router.get("/deliveries/{delivery_id}")
async def read_delivery(parts: Shared, delivery_id: Number, caller: Person) -> DeliveryDetail:
    """One delivery with its tries."""
    return await _detail(parts, await _find(parts, caller, delivery_id))


@router.post("/deliveries/{delivery_id}/replay", status_code=202)
async def replay(parts: Shared, delivery_id: Number, caller: Doer) -> DeliveryDetail:
    """Sends it again, whatever became of it, under the same webhook id, and with all its tries before it."""
    delivery = await _find(parts, caller, delivery_id)
    now = parts.clock.now()
    replayed = await parts.store.replay_delivery(delivery.id, by=caller.by, now=now)
    if replayed is None:
        raise _not_found(delivery_id)
    parts.loops.nudge("webhooks")
    return await _detail(parts, replayed)


@router.get("/secret")
async def secret(parts: Shared, caller: Doer, response: Response) -> SecretView:
    """With which to check the signatures of what we send you."""
    return _secret_view(parts, await _user(parts, caller), response)


@router.post("/secret/rotate")
async def rotate(parts: Shared, caller: Doer, response: Response) -> SecretView:
    """A new secret. For 24 hours the one before signs too."""
    now = parts.clock.now()
    before = await _user(parts, caller)
    changes = {"webhook_version": before.webhook_version + 1, "webhook_rotated_at": now}
    user = await parts.store.change_user(caller.owner, changes, by=caller.by, now=now)
    return _secret_view(parts, user or before, response)


async def _user(parts: Parts, caller: Caller) -> User:
    """As stored: whoever calls without keys has a secret too."""
    return await parts.store.get_user(caller.owner) or caller.user


def _whose(caller: Caller, owner: str | None) -> str | None:
    """Whose deliveries are meant; None: everybody's.

    Raises:
        ProblemError: 403 for others' by who sees only their own.
    """
    if caller.sees_all:
        return owner
    if owner not in {None, caller.owner}:
        raise forbidden("The webhooks of others are for operators.")
    return caller.owner


async def _given_up(
    parts: Parts, owner: str | None, job_id: str | None, fits: Callable[[Delivery], bool]
) -> list[Delivery]:
    """Those that fit, oldest first, up to one more than are replayed at once."""
    chosen: list[Delivery] = []
    after = 0
    while len(chosen) <= REPLAYED_MAX:
        page = await parts.store.list_deliveries(
            job_id, owner=owner, state=DeliveryState.FAILED, after=after, limit=PAGE
        )
        chosen += filter(fits, page)
        if len(page) < PAGE:
            break
        after = page[-1].id
    return chosen


async def _find(parts: Parts, caller: Caller, delivery_id: int) -> Delivery:
    """Raises:
    ProblemError: 404 where there is none that they may see.
    """
    delivery = await parts.store.get_delivery(delivery_id)
    if delivery is None or not (caller.sees_all or delivery.owner == caller.owner):
        raise _not_found(delivery_id)
    return delivery


def _not_found(delivery_id: int) -> ProblemError:
    detail = f"You have none with the id {delivery_id}; it goes with its job."
    return ProblemError(404, "There is no such delivery", detail, type="/problems/not-found")


def _secret_view(parts: Parts, user: User, response: Response) -> SecretView:
    response.headers["Cache-Control"] = "no-store"
    newest, *older = secrets_of(parts.applier.leases.deployment.secret, user, parts.clock.now())
    until = (user.webhook_rotated_at or 0.0) + BOTH_S if older else None
    return SecretView(
        secret=newest,
        rotated_at=moment(user.webhook_rotated_at),
        previous=older[0] if older else None,
        previous_until=moment(until),
    )


def delivery_view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        webhook_id=message_id(row.id),
        job_id=row.job_id,
        owner=row.owner,
        url=row.url,
        state=_state(row),
        tries=row.tries,
        created_at=moment(row.created_at),
        next_try_at=moment(row.due_at) if row.done_at is None else None,
        ended_at=moment(row.done_at),
        last_error=row.last_error,
    )


async def _detail(parts: Parts, row: Delivery) -> DeliveryDetail:
    tries = await parts.store.list_delivery_tries(row.id)
    history = tuple(TryView(**{**asdict(one), "at": moment(one.at)}) for one in tries)
    return DeliveryDetail(**delivery_view(row).model_dump(), history=history)


def _state(row: Delivery) -> DeliveryStatus:
    if row.done_at is None:
        return "pending"
    return "arrived" if row.last_error is None else "failed"

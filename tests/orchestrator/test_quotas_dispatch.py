"""Limits at the dispatcher: whom they leave parked, and who is woken when there is room again."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
import quota_town

from gpulease.contract.agent import ClaimRequest
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.store.people import Quota
from scaling.plan import Plan
from scaling.snapshot import JobGroup, Need, Snapshot

town = quota_town.town


class Yard:
    """Workers whose claims are parked at a dispatcher that knows the limits."""

    def __init__(self, town):
        self.town = town
        self.begun = []
        self.dispatcher = Dispatcher(town.store, town.clock, self.begun.append)
        self.dispatcher.limits = town.book.limits
        self.claims = []

    async def park(self, count):
        for number in range(count):
            worker = await self.town.worker(f"p{number}", capacity=1)
            asked = ClaimRequest(incarnation="incarnation", nonce=uuid4().hex, wait_s=20)
            self.claims.append(asyncio.create_task(self.dispatcher.claim(worker, asked)))
        await settled(lambda: len(self.dispatcher.parked()) == count)

    async def close(self):
        self.dispatcher.close()
        await asyncio.gather(*self.claims)


async def settled(holds):
    """Lets others go on until it holds; what they wait for is the store alone."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def yard(town):
    made = Yard(town)
    yield made
    await made.close()


async def test_a_parked_worker_is_given_no_job_above_the_bound(yard):
    town = yard.town
    await town.user("ann", running_max=2)
    await yard.park(5)
    for _ in range(4):
        await town.submit()
        yard.dispatcher.offer(Need("csm", owner="ann"))
    await settled(lambda: len(yard.begun) == 2)
    await town.user("bob")
    await town.submit("bob")
    yard.dispatcher.offer(Need("csm", owner="bob"))
    await settled(lambda: len(yard.begun) == 3)
    assert [one.job.need.owner for one in yard.begun] == ["ann", "ann", "bob"]
    assert len(yard.dispatcher.parked()) == 2


async def test_when_one_ends_the_next_held_one_begins_at_once(yard):
    town = yard.town
    await town.user("ann", running_max=1)
    await yard.park(3)
    for _ in range(3):
        await town.submit()
        yard.dispatcher.offer(Need("csm", owner="ann"))
    await settled(lambda: len(yard.begun) == 1)
    for place in range(2):
        await town.finish(yard.begun[place])
        yard.dispatcher.ended(yard.begun[place].job.need)
        await settled(lambda expected=place + 2: len(yard.begun) == expected)


async def test_an_end_wakes_nobody_where_no_limit_holds(yard):
    await yard.park(2)
    yard.dispatcher.ended(Need("csm", owner="ann"))
    assert not any(one.wake.is_set() for one in yard.dispatcher._parked.values())


async def test_the_next_look_wakes_whoever_can_take_what_is_held_no_more(yard):
    """However the room came: another engine's job ended, or a bound rose."""
    town = yard.town
    await town.user("ann", running_max=0)
    await yard.park(4)
    for _ in range(3):
        await town.submit()
    group = JobGroup(Need("csm", owner="ann"), 3)
    held = Snapshot((group,), limits=town.book.limits())
    yard.dispatcher.follow(held, Plan())
    assert not any(one.wake.is_set() for one in yard.dispatcher._parked.values())
    number = (await town.store.get_user("ann")).subscription_id
    await town.subscription(Quota(running_max=2), number)
    await town.book.refresh()
    yard.dispatcher.follow(replace(held, limits=town.book.limits()), Plan())
    await settled(lambda: len(yard.begun) == 2)
    assert len(yard.dispatcher.parked()) == 2

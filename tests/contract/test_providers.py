"""The provider contract, for everything that can be bought: real processes, the fake, and clouds on loopback."""

import asyncio
from contextlib import suppress

import pytest
from provider_worlds import CLOUDS, WORLDS, gone

from provider_clients.base import Probes
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    RateLimited,
)

pytestmark = pytest.mark.slow

TAG = "gpl-w-1"


@pytest.fixture(params=WORLDS)
async def world(request, tmp_path):
    async with WORLDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=CLOUDS)
async def cloud(request, tmp_path):
    async with WORLDS[request.param](tmp_path) as made:
        yield made


async def listed(provider, count=1, patience_s=5.0):
    """The list, once it has so many."""
    async with asyncio.timeout(patience_s):
        while len(found := await provider.list()) != count:
            await asyncio.sleep(0.05)
    return found


async def test_offers_name_their_provider_and_its_price(world):
    (offer,) = await world.provider.offers()
    assert (offer.provider, offer.gpu_class) == (world.provider.name, world.spec.gpu_class)
    assert offer.usd_per_hour == pytest.approx(world.usd_per_hour)
    assert {one.engine for one in offer.capabilities} == world.engines


async def test_what_is_created_is_listed_until_it_is_deleted(world):
    provider = world.provider
    assert await provider.list() == ()
    made = await provider.create(world.spec, TAG)
    tag = TAG if provider.tagged else ""
    assert (made.tag, made.gpu_class) == (tag, world.spec.gpu_class)
    (found,) = await listed(provider)
    assert (found.id, found.tag, found.running) == (made.id, tag, True)
    assert (await provider.get(made.id)).id == made.id
    assert provider.tagged or found.created_at is not None
    await gone(provider, made.id)
    assert await provider.list() == ()
    with pytest.raises(NotFound):
        await provider.get(made.id)


async def test_several_are_told_apart(world):
    tags = [f"gpl-w-{at}" for at in range(3)]
    made = await asyncio.gather(*(world.provider.create(world.spec, tag) for tag in tags))
    assert len({one.id for one in made}) == 3
    found = await listed(world.provider, 3)
    assert {one.id for one in found} == {one.id for one in made}
    await gone(world.provider, made[1].id)
    assert {one.id for one in await world.provider.list()} == {made[0].id, made[2].id}


async def test_a_repeated_delete_is_harmless(world):
    made = await world.provider.create(world.spec, TAG)
    await gone(world.provider, made.id)
    for _ in range(2):
        with pytest.raises(NotFound):
            await world.provider.delete(made.id)


async def test_what_never_was_is_not_found(world):
    for ask in (world.provider.delete, world.provider.get):
        with pytest.raises(NotFound):
            await ask("nonesuch")


async def test_a_check_buys_nothing_and_says_something(world):
    account = await world.provider.check()
    assert account.notes
    assert all(note.strip() for note in account.notes)
    assert await world.provider.list() == ()


async def test_an_error_is_never_an_empty_list(cloud):
    await cloud.provider.create(cloud.spec, TAG)
    cloud.break_reads()
    with pytest.raises(OutcomeUnknown):
        await cloud.provider.list()
    with pytest.raises(OutcomeUnknown):
        await cloud.provider.get("nonesuch")
    with pytest.raises(OutcomeUnknown):
        await cloud.provider.offers()
    cloud.mend()
    assert len(await cloud.provider.list()) == 1


async def test_a_lost_reply_is_adopted_or_listed_and_bought_once(cloud):
    cloud.lose_the_reply()
    with suppress(OutcomeUnknown):
        await cloud.provider.create(cloud.spec, TAG)
    (found,) = await listed(cloud.provider)
    assert found.tag == (TAG if cloud.provider.tagged else "")
    assert cloud.count() == 1


async def test_a_lost_request_is_never_asked_again(cloud):
    cloud.lose_the_request()
    with pytest.raises((OutcomeUnknown, NoCapacity)):
        await cloud.provider.create(cloud.spec, TAG)
    assert await cloud.provider.list() == ()
    assert cloud.count() == 0


async def test_an_empty_shelf_is_no_capacity(cloud):
    cloud.sell_out()
    with pytest.raises(NoCapacity):
        await cloud.provider.create(cloud.spec, TAG)
    assert cloud.count() == 0


async def test_a_limit_says_for_how_long(cloud):
    cloud.limit()
    with pytest.raises(RateLimited) as caught:
        await cloud.provider.create(cloud.spec, TAG)
    assert caught.value.retry_after_s > 0
    assert cloud.count() == 0


async def test_a_wrong_key_is_known_as_such(cloud):
    stranger = cloud.stranger()
    for call in (stranger.list(), stranger.check(), stranger.create(cloud.spec, TAG)):
        with pytest.raises(BadCredentials):
            await call
    assert cloud.count() == 0


async def test_the_receipt_is_what_the_cloud_bills(cloud):
    made = await cloud.provider.create(cloud.spec, TAG)
    async with asyncio.timeout(20):
        while not await cloud.runs():
            await asyncio.sleep(0.05)
    receipt = await gone(cloud.provider, made.id)
    assert receipt is not None
    assert receipt.billed_s == pytest.approx(cloud.billed_s(), abs=1e-5)
    assert receipt.billed_s <= receipt.ended_at - receipt.started_at + 1.0
    assert receipt.billed_s > 0


async def test_what_does_not_run_answers_no_probe(cloud):
    assert isinstance(cloud.provider, Probes)
    made = await cloud.provider.create(cloud.spec, TAG)
    await gone(cloud.provider, made.id)
    assert not await cloud.provider.probe(made)

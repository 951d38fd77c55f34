"""GPU classes: names in the wild, prices as text, and the offers made of them."""

import httpx
import pytest
from salad_api import CLASSES, ORGANIZATION, RTX_4090, Clock, salad

from provider_clients.errors import OutcomeUnknown
from provider_clients.salad.classes import GpuClass, cleaned, named_apart


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA GeForce RTX 4090 (24 GB)", "RTX 4090"),
        ("  RTX 5090  (32GB) ", "RTX 5090"),
        ("NVIDIA RTX A5000 (24 GB)", "RTX A5000"),
        ("RTX 3090 Ti", "RTX 3090 Ti"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_names_are_cleaned(name, short):
    assert cleaned(name) == short


def test_near_duplicates_have_names_of_their_own():
    found = named_apart(
        [
            GpuClass("id-a", "RTX 3060", 12, {"batch": 0.04}),
            GpuClass("id-b", "RTX 3060", 8, {"batch": 0.03}),
            GpuClass("id-c-rest-of-it", "RTX 3060", 12),
            GpuClass("id-d", "RTX 4090", 24, {"batch": 0.16}),
        ]
    )
    assert {one.id: one.name for one in found} == {
        "id-a": "RTX 3060 12GB",
        "id-b": "RTX 3060 8GB",
        "id-c-rest-of-it": "RTX 3060 12GB #id-c-res",
        "id-d": "RTX 4090",
    }


def quotas(api, quota=10, used=3):
    held = {"container_replicas_quota": quota, "container_replicas_used": used}
    api.get(f"{ORGANIZATION}/quotas").respond(json={"container_groups_quotas": held})


async def test_what_has_a_price_at_our_priority_is_offered():
    async with salad() as (client, api):
        quotas(api)
        (offer,) = await client.offers()
    assert (offer.provider, offer.gpu_class, offer.usd_per_hour) == ("salad", "RTX 4090", 0.16)
    assert (offer.vram_gb, offer.boot_billed, offer.count_max, offer.capacity) == (24, False, 7, 1)
    assert offer.boot_prior is not None
    assert offer.boot_prior.samples == 0


async def test_each_of_several_priorities_is_an_offer_of_its_own():
    """The cheaper, the sooner its machines are taken away."""
    async with salad(priorities=("high", "medium", "batch")) as (client, api):
        quotas(api)
        offers = await client.offers()
    assert [(one.gpu_class, one.usd_per_hour) for one in offers] == [
        ("RTX 4090", 0.16),
        ("RTX 4090", 0.3),
        ("RTX 5090", 0.417),
    ]
    batch, high, _ = [one.life_mean_s for one in offers]
    assert batch < high


def test_of_priorities_that_cost_the_same_only_the_highest_is_worth_it():
    alike = GpuClass("id-a", "RTX 3060", 12, {"batch": 0.04, "high": 0.08, "low": 0.08, "medium": 0.08})
    assert alike.tiers() == (("batch", 0.04), ("high", 0.08))


@pytest.mark.parametrize(("usd", "tier"), [(0.04, "batch"), (0.05, "batch"), (0.08, "high"), (9.0, "high")])
def test_a_tier_is_known_by_its_price_also_after_that_has_changed_a_little(usd, tier):
    assert GpuClass("id-a", "RTX 3060", 12, {"batch": 0.04, "high": 0.08}).tier(usd) == tier
    assert GpuClass("id-a", "RTX 3060", 12).tier(usd) is None


async def test_the_quota_bounds_what_is_offered():
    async with salad() as (client, api):
        quotas(api, quota=3, used=4)
        assert [one.count_max for one in await client.offers()] == [0]


@pytest.mark.parametrize("word", [RTX_4090, RTX_4090.upper(), "rtx 4090", "NVIDIA GeForce RTX 4090 (24 GB)"])
async def test_classes_are_chosen_by_name_or_id(word):
    async with salad(gpu_classes=(word, "RTX 5090")) as (client, api):
        quotas(api)
        assert [one.gpu_class for one in await client.offers()] == ["RTX 4090"]


async def test_nothing_is_offered_that_can_run_nothing():
    async with salad(capabilities=()) as (client, _):
        assert await client.offers() == ()


async def test_classes_are_read_again_after_ten_minutes():
    clock = Clock()
    async with salad(clock) as (client, api):
        quotas(api)
        route = api.get(f"{ORGANIZATION}/gpu-classes").respond(json=CLASSES)
        for clock.now in (0.0, 500.0, 601.0):
            await client.offers()
        assert route.call_count == 2


@pytest.mark.parametrize("price", ["", "free", "nan", "-1", "inf"])
async def test_a_price_that_is_none_is_no_offer(price):
    strange = {"items": [{**CLASSES["items"][0], "prices": [{"priority": "batch", "price": price}]}]}
    async with salad() as (client, api):
        quotas(api)
        api.get(f"{ORGANIZATION}/gpu-classes").respond(json=strange)
        assert await client.offers() == ()


async def test_unreadable_classes_are_no_empty_market():
    async with salad() as (client, api):
        quotas(api)
        api.get(f"{ORGANIZATION}/gpu-classes").mock(return_value=httpx.Response(200, json={"items": [{}]}))
        with pytest.raises(OutcomeUnknown, match=r"items\.0\.id"):
            await client.offers()

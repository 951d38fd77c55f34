"""Looking at groups and their machines: no unreadable reply is taken for an empty one."""

import httpx
import pytest
from salad_api import GROUP, GROUPS, HTML, ORGANIZATION, QUEUE, TAG, Clock, group, instance, salad, sent

from provider_clients.base import Instance
from provider_clients.errors import BadCredentials, NotFound, OutcomeUnknown, RateLimited, Rejected

INSTANCES = f"{GROUP}/instances"
SEEN = Instance(TAG, TAG, "RTX 4090")


async def test_groups_are_listed_by_their_names():
    shown = [group("gpl-w-1", "running"), group("gpl-w-2", "failed"), group("gpl-w-3", "a new word")]
    async with salad() as (client, api):
        api.get(GROUPS).respond(json={"items": shown, "unheard": "of"})
        listed = await client.list()
    assert [(one.tag, one.running) for one in listed] == [
        ("gpl-w-1", True),
        ("gpl-w-2", False),
        ("gpl-w-3", True),
    ]


UNREADABLE = [
    HTML,
    httpx.Response(200, json=[]),
    httpx.Response(200, json={}),
    httpx.Response(200, json=None),
    httpx.Response(200),
    httpx.Response(200, json={"items": None}),
    httpx.Response(200, json={"items": [{"name": "gpl-w-1"}]}),
]


@pytest.mark.parametrize("reply", UNREADABLE, ids=repr)
async def test_an_unreadable_list_is_a_doubt(reply):
    async with salad() as (client, api):
        api.get(GROUPS).mock(return_value=reply)
        with pytest.raises(OutcomeUnknown):
            await client.list()


async def test_a_list_of_a_project_that_is_not_there_is_not_empty():
    async with salad() as (client, api):
        api.get(GROUPS).respond(404)
        with pytest.raises(Rejected, match="no project render of acme"):
            await client.list()


async def test_a_list_that_may_be_cut_off_is_a_doubt():
    async with salad() as (client, api):
        api.get(GROUPS).respond(json={"items": [group(f"gpl-w-{number}") for number in range(100)]})
        with pytest.raises(OutcomeUnknown, match="may be more"):
            await client.list()


@pytest.mark.parametrize(
    ("time", "known"),
    [("2024-01-20T01:02:48.4787553Z", True), ("2024-01-20T01:02:48", True), ("soon", False), (None, False)],
)
async def test_times_are_read_as_they_come(time, known):
    async with salad() as (client, api):
        api.get(GROUPS).respond(json={"items": [{**group(), "create_time": time}]})
        (listed,) = await client.list()
    assert (listed.created_at is not None) is known


async def test_an_instance_tells_its_machine():
    async with salad() as (client, api):
        api.get(GROUP).respond(json=group())
        moving = [instance("stopping", machine_id="m-0"), instance("running", machine_id="m-1")]
        api.get(INSTANCES).respond(json={"instances": moving})
        got = await client.get(TAG)
    assert (got.host_id, got.running, got.trouble) == ("m-1", True, None)


async def test_a_failed_group_is_in_trouble():
    async with salad() as (client, api):
        api.get(GROUP).respond(json=group(status="failed", description="image not found"))
        api.get(INSTANCES).respond(json={"instances": []})
        got = await client.get(TAG)
    assert not got.running
    assert "image not found" in got.trouble


async def test_a_slow_download_is_trouble_until_the_machine_is_another():
    clock = Clock()
    async with salad(clock, image_gb=2.0) as (client, api):
        api.get(GROUP).respond(json=group(status="deploying"))
        api.get(INSTANCES).respond(json={"instances": [instance("downloading")]})
        told = []
        for clock.now in (0.0, 240.0, 241.0):
            told.append((await client.get(TAG)).trouble is not None)
        api.get(INSTANCES).respond(json={"instances": [instance("downloading", machine_id="m-2")]})
        told.append((await client.get(TAG)).trouble is not None)
        clock.now = 500.0
        told.append((await client.get(TAG)).trouble is not None)
        api.get(INSTANCES).respond(json={"instances": [instance("creating", machine_id="m-2")]})
        told.append((await client.get(TAG)).trouble is not None)
    assert told == [False, False, True, False, True, False]


async def test_not_found_counts_only_where_the_project_is():
    async with salad() as (client, api):
        api.get(GROUP).respond(404)
        api.get(GROUPS).respond(404)
        with pytest.raises(OutcomeUnknown, match="no project"):
            await client.get(TAG)
        api.get(GROUPS).respond(json={"items": [group()]})
        with pytest.raises(OutcomeUnknown, match="lists"):
            await client.get(TAG)
        api.get(GROUPS).respond(json={"items": []})
        with pytest.raises(NotFound):
            await client.get(TAG)


async def test_a_queue_that_outlives_its_group_is_not_forgotten():
    async with salad(mode="queue") as (client, api):
        api.get(GROUP).respond(404)
        api.get(GROUPS).respond(json={"items": []})
        api.get(QUEUE).respond(json={"name": TAG})
        assert not (await client.get(TAG)).running
        api.get(QUEUE).respond(404)
        with pytest.raises(NotFound):
            await client.get(TAG)


@pytest.mark.parametrize("name", ["", "..", "a/b", "UPPER"])
async def test_what_is_no_name_is_nowhere(name):
    async with salad() as (client, _):
        for verb in (client.get, client.delete):
            with pytest.raises(NotFound):
                await verb(name)


@pytest.mark.parametrize(
    ("shown", "well"),
    [
        ([instance()], True),
        ([{**instance(), "ready": None}], True),
        ([instance(ready=False)], False),
        ([instance("creating")], False),
        ([], False),
    ],
)
async def test_a_probe_asks_for_a_running_instance_that_is_ready(shown, well):
    async with salad() as (client, api):
        api.get(INSTANCES).respond(json={"instances": shown})
        assert await client.probe(SEEN) is well


async def test_a_probe_of_nothing_fails_and_an_unreadable_one_does_not():
    async with salad() as (client, api):
        api.get(INSTANCES).respond(404)
        assert await client.probe(SEEN) is False
        api.get(INSTANCES).mock(return_value=HTML)
        with pytest.raises(OutcomeUnknown):
            await client.probe(SEEN)


async def test_busy_instances_cost_more_to_delete():
    async with salad() as (client, api):
        api.get(INSTANCES).respond(json={"instances": [instance()]})
        patched = api.patch(f"{INSTANCES}/db3a4591").respond(json=instance())
        await client.protect(TAG, busy=True)
        await client.protect(TAG, busy=False)
        assert [sent(call) for call in patched.calls] == [{"deletion_cost": 1000}, {"deletion_cost": 0}]
        assert patched.calls.last.request.headers["Content-Type"] == "application/merge-patch+json"
        patched.respond(404)
        await client.protect(TAG, busy=True)
        api.get(INSTANCES).respond(json={"instances": []})
        await client.protect(TAG, busy=True)
        assert patched.call_count == 3


async def test_an_exchange_names_the_instance_and_else_its_machine():
    async with salad() as (client, api):
        api.get(INSTANCES).respond(json={"instances": [instance()]})
        by_id = api.post(f"{INSTANCES}/db3a4591/reallocate").respond(202)
        by_machine = api.post(f"{INSTANCES}/m-1/reallocate").respond(202)
        await client.exchange(TAG, "slow")
        assert (by_id.call_count, by_machine.call_count) == (1, 0)
        by_id.respond(404)
        await client.exchange(TAG, "slow")
        assert by_machine.call_count == 1
        by_machine.respond(404)
        with pytest.raises(OutcomeUnknown):
            await client.exchange(TAG, "slow")
        by_id.respond(429, headers={"Retry-After": "60"})
        with pytest.raises(RateLimited):
            await client.exchange(TAG, "slow")
        api.get(INSTANCES).respond(json={"instances": []})
        await client.exchange(TAG, "slow")


def quotas(api):
    held = {"container_replicas_quota": 10, "container_replicas_used": 3}
    api.get(f"{ORGANIZATION}/quotas").respond(json={"container_groups_quotas": held})


async def test_a_check_is_in_words():
    async with salad(gpu_classes=("RTX 4090", "RTX 9999")) as (client, api):
        quotas(api)
        api.get(GROUPS).respond(json={"items": [group()]})
        found = await client.check()
    assert (found.workers_max, found.workers_used, found.balance) == (10, 3, None)
    assert found.notes == (
        "acme/render has 1 container groups.",
        "At priority batch are sold: RTX 4090 0.16 USD/h.",
        "Not sold at priority batch: RTX 9999.",
        "3 of 10 replicas are in use.",
    )


async def test_a_check_says_which_name_is_wrong():
    async with salad() as (client, api):
        quotas(api)
        api.get(GROUPS).respond(404)
        with pytest.raises(Rejected, match="no project render of acme"):
            await client.check()
        api.get(f"{ORGANIZATION}/quotas").respond(404)
        with pytest.raises(Rejected, match="no organisation acme"):
            await client.check()
        api.get(f"{ORGANIZATION}/quotas").respond(401)
        with pytest.raises(BadCredentials):
            await client.check()


async def test_the_secret_of_webhooks_is_read():
    secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    async with salad() as (client, api):
        api.get(f"{ORGANIZATION}/webhook-secret-key").respond(json={"secret_key": secret})
        assert await client.webhook_secret() == secret

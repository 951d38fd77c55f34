"""Creating a group under every kind of reply: it is asked for once, and doubts are looked up by name."""

import httpx
import pytest
from salad_api import (
    GROUP,
    GROUPS,
    HTML,
    ORGANIZATION,
    QUEUE,
    QUEUES,
    RTX_4090,
    SPEC,
    TAG,
    group,
    salad,
    sent,
)

from provider_clients.base import LaunchSpec
from provider_clients.errors import BadCredentials, NoCapacity, OutcomeUnknown, RateLimited, Rejected


async def test_a_group_is_created_under_our_tag():
    async with salad() as (client, api):
        created = api.post(GROUPS).respond(201, json=group(status="pending"))
        made = await client.create(SPEC, TAG)
    assert (made.id, made.tag, made.gpu_class, made.running) == (TAG, TAG, "RTX 4090", True)
    assert made.created_at == pytest.approx(1705712568.478755)
    assert made.address is None
    request = created.calls.last.request
    assert request.headers["Salad-Api-Key"] == "salad-key"
    assert "urllib" not in request.headers["User-Agent"]
    assert sent(created.calls.last)["container"]["resources"]["gpu_classes"] == [RTX_4090]


LOST = [
    HTML,
    httpx.Response(200, html="<html>maintenance</html>"),
    httpx.Response(500, json={"title": "oops"}),
    httpx.Response(201, json={"id": "and nothing else"}),
    httpx.Response(201, content=b"{ not json"),
    httpx.Response(201),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("cut"),
]


@pytest.mark.parametrize("reply", LOST, ids=repr)
async def test_a_lost_reply_is_found_by_name(reply):
    async with salad() as (client, api):
        created = api.post(GROUPS).mock(side_effect=[reply])
        api.get(GROUP).respond(json=group(status="pending"))
        assert (await client.create(SPEC, TAG)).id == TAG
        assert created.call_count == 1


async def test_what_is_not_to_be_seen_is_a_doubt_and_is_never_asked_for_again():
    async with salad() as (client, api):
        created = api.post(GROUPS).mock(return_value=HTML)
        looked = api.get(GROUP).respond(404, json={"title": "Not Found"})
        with pytest.raises(OutcomeUnknown):
            await client.create(SPEC, TAG)
        assert (created.call_count, looked.call_count) == (1, 2)


async def test_it_is_looked_for_twice():
    async with salad() as (client, api):
        api.post(GROUPS).mock(side_effect=httpx.ReadTimeout("slow"))
        api.get(GROUP).mock(side_effect=[httpx.Response(404), httpx.Response(200, json=group())])
        assert (await client.create(SPEC, TAG)).id == TAG


@pytest.mark.parametrize("status", [400, 409])
async def test_a_name_in_use_is_what_was_asked_for_before(status):
    async with salad() as (client, api):
        api.post(GROUPS).respond(status, json={"title": "name is in use"})
        api.get(GROUP).respond(json=group())
        assert (await client.create(SPEC, TAG)).tag == TAG


async def test_a_name_in_use_that_is_not_to_be_seen_is_a_doubt():
    async with salad() as (client, api):
        api.post(GROUPS).respond(409, json={"title": "name is in use"})
        api.get(GROUP).respond(404)
        with pytest.raises(OutcomeUnknown):
            await client.create(SPEC, TAG)


REFUSALS = [
    (400, {"detail": "Replica quota exceeded for the organization"}, NoCapacity, "quota"),
    (400, {"title": "Bad", "errors": {"container.image": ["is no image"]}}, Rejected, "container.image"),
    (422, {"detail": "replicas: too many"}, Rejected, "replicas"),
    (403, {"title": "Forbidden"}, BadCredentials, "Forbidden"),
    (401, {"title": "Unauthorized"}, BadCredentials, "Unauthorized"),
    (404, {"title": "Not Found"}, Rejected, "no project render of the organisation acme"),
]


@pytest.mark.parametrize(("status", "body", "error", "said"), REFUSALS)
async def test_a_refusal_says_what_to_do_next(status, body, error, said):
    async with salad() as (client, api):
        api.post(GROUPS).respond(status, json=body)
        api.get(GROUP).respond(404)
        with pytest.raises(error, match=said) as raised:
            await client.create(SPEC, TAG)
    assert "salad-key" not in str(raised.value)


@pytest.mark.parametrize(("headers", "wait_s"), [({"Retry-After": "7"}, 7.0), ({}, 30.0)])
async def test_too_many_requests(headers, wait_s):
    async with salad() as (client, api):
        api.post(GROUPS).respond(429, headers=headers)
        with pytest.raises(RateLimited) as raised:
            await client.create(SPEC, TAG)
    assert raised.value.retry_after_s == wait_s


async def test_a_machine_that_cannot_be_reached_has_nothing():
    async with salad() as (client, api):
        api.post(GROUPS).mock(side_effect=httpx.ConnectError("no route"))
        with pytest.raises(NoCapacity):
            await client.create(SPEC, TAG)


async def test_nothing_is_asked_for_while_the_class_is_not_known():
    async with salad() as (client, api):
        created = api.post(GROUPS)
        with pytest.raises(NoCapacity, match="RTX 2060"):
            await client.create(LaunchSpec("w-1", "RTX 2060", "https://o", "k"), TAG)
        assert created.call_count == 0
    async with salad() as (client, api):
        created = api.post(GROUPS)
        api.get(f"{ORGANIZATION}/gpu-classes").mock(return_value=HTML)
        with pytest.raises(NoCapacity, match="cannot be read"):
            await client.create(SPEC, TAG)
        assert created.call_count == 0


@pytest.mark.parametrize(
    ("spec", "tag"),
    [
        (SPEC, "W-1"),
        (SPEC, "a" * 64),
        (LaunchSpec("w-1", "RTX 4090", "https://o", "k", {"LONG": "x" * 1001}), TAG),
    ],
)
async def test_what_would_be_refused_is_not_sent(spec, tag):
    async with salad() as (client, api):
        created = api.post(GROUPS)
        with pytest.raises(Rejected):
            await client.create(spec, tag)
        assert created.call_count == 0


async def test_a_queue_is_made_before_its_group():
    async with salad(mode="queue") as (client, api):
        assert client.hosted
        queue = api.post(QUEUES).respond(201, json={"name": TAG})
        created = api.post(GROUPS).respond(201, json=group())
        made = await client.create(SPEC, TAG)
        assert made.address == TAG
        assert sent(queue.calls.last) == {"name": TAG, "display_name": TAG}
        assert sent(created.calls.last)["queue_connection"]["queue_name"] == TAG


@pytest.mark.parametrize("reply", [httpx.Response(409), httpx.Response(400), HTML])
async def test_a_queue_that_is_there_already_will_do(reply):
    async with salad(mode="queue") as (client, api):
        api.post(QUEUES).mock(return_value=reply)
        api.get(QUEUE).respond(json={"name": TAG})
        api.post(GROUPS).respond(201, json=group())
        assert (await client.create(SPEC, TAG)).id == TAG


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (HTML, NoCapacity),
        (httpx.Response(400, json={"detail": "queues quota"}), NoCapacity),
        (httpx.Response(400, json={"detail": "name"}), Rejected),
        (httpx.Response(404), Rejected),
        (httpx.Response(403), BadCredentials),
    ],
)
async def test_without_a_queue_no_group_is_asked_for(reply, error):
    async with salad(mode="queue") as (client, api):
        api.post(QUEUES).mock(return_value=reply)
        api.get(QUEUE).respond(404)
        created = api.post(GROUPS)
        with pytest.raises(error):
            await client.create(SPEC, TAG)
        assert created.call_count == 0


async def test_a_queue_whose_group_was_refused_goes_again_but_in_doubt_it_stays():
    async with salad(mode="queue") as (client, api):
        api.post(QUEUES).respond(201, json={"name": TAG})
        api.get(GROUP).respond(404)
        deleted = api.delete(QUEUE).respond(202)
        api.post(GROUPS).mock(return_value=HTML)
        with pytest.raises(OutcomeUnknown):
            await client.create(SPEC, TAG)
        assert deleted.call_count == 0
        api.post(GROUPS).respond(400, json={"detail": "quota"})
        with pytest.raises(NoCapacity):
            await client.create(SPEC, TAG)
        assert deleted.call_count == 1

"""Letting a group go, step by step, and what it cost by Salad's own log."""

import httpx
import pytest
from salad_api import GROUP, GROUPS, HTML, QUEUE, TAG, Clock, events, group, instance, salad

from provider_clients.base import Receipt
from provider_clients.errors import NotFound, OutcomeUnknown

INSTANCES = f"{GROUP}/instances"
LOGS = f"{GROUP}/system-logs"
STARTED = 1705712400.0  # 2024-01-20T01:00:00Z
RAN = events(
    ("Container Group Started", 0, None),
    ("Instance Allocated", 1, "i-1"),
    ("Instance Running", 10, "i-1"),
    ("Instance Ready (Readiness Probe Passed)", 11, "i-1"),
    ("Instance Interrupted (Node Offline)", 70, "i-1"),
    ("Instance Running", 100, "i-2"),
    ("Container Group Stopped", 150, None),
    ("Instance Exited:137 (Likely Out of System Memory)", 160, "i-2"),
)


class Cloud:
    """Routes of one group; a test turns what they say."""

    def __init__(self, api, status="running", shown=(), log=RAN):
        self.api = api
        self.stopped = api.post(f"{GROUP}/stop").respond(202)
        self.deleted = api.delete(GROUP).respond(202)
        self.say(status, shown)
        api.get(LOGS).respond(json=log)
        api.get(GROUPS).respond(json={"items": []})

    def say(self, status, shown=()):
        self.api.get(GROUP).respond(json=group(status=status))
        self.api.get(INSTANCES).respond(json={"instances": list(shown)})


async def test_it_is_stopped_until_no_instance_is_left_and_then_deleted():
    async with salad() as (client, api):
        cloud = Cloud(api, shown=[instance()])
        assert await client.delete(TAG) is None
        cloud.say("stopped", [instance("stopping")])
        cloud.stopped.respond(400, json={"title": "already stopped"})
        assert await client.delete(TAG) is None
        assert (cloud.stopped.call_count, cloud.deleted.call_count) == (2, 0)
        cloud.say("stopped")
        assert await client.delete(TAG) == Receipt(STARTED + 10, STARTED + 160, 120)
        assert cloud.deleted.call_count == 1
        api.get(GROUP).respond(404)
        with pytest.raises(NotFound):
            await client.delete(TAG)


async def test_a_group_without_a_machine_is_stopped_too():
    async with salad() as (client, api):
        cloud = Cloud(api, "pending", log=events(("Container Group Started", 5, None)))
        assert await client.delete(TAG) is None
        assert (cloud.stopped.call_count, cloud.deleted.call_count) == (1, 0)
        assert await client.delete(TAG) == Receipt(STARTED + 5, STARTED + 5, 0)
        assert (cloud.stopped.call_count, cloud.deleted.call_count) == (1, 1)


async def test_the_bill_outlives_a_lost_reply():
    async with salad() as (client, api):
        cloud = Cloud(api, "stopped")
        cloud.deleted.mock(return_value=HTML)
        assert (await client.delete(TAG)).billed_s == 120
        cloud.deleted.respond(404)
        assert (await client.delete(TAG)).billed_s == 120


async def test_a_log_that_is_late_is_waited_for():
    clock = Clock()
    late = events(("Instance Running", 60, "i-1"))
    async with salad(clock) as (client, api):
        cloud = Cloud(api, "stopped", log=late)
        assert await client.delete(TAG) is None
        clock.now = 19.0
        assert await client.delete(TAG) is None
        assert cloud.deleted.call_count == 0
        clock.now = 20.0
        # The group's own finish, 01:04:00, is the end that the log does not tell.
        assert await client.delete(TAG) == Receipt(STARTED + 60, STARTED + 240, 180)


@pytest.mark.parametrize("log", [httpx.Response(200, json={"items": []}), httpx.Response(404), HTML])
async def test_without_a_log_the_state_of_the_group_tells(log):
    clock = Clock()
    async with salad(clock) as (client, api):
        Cloud(api, "stopped")
        api.get(LOGS).mock(return_value=log)
        assert await client.delete(TAG) is None
        clock.now = 30.0
        assert await client.delete(TAG) == Receipt(STARTED + 180, STARTED + 240, 60)


async def test_a_log_that_is_cut_off_is_no_bill():
    full = events(*((f"Instance Not Ready {number}", number, "i-1") for number in range(50)))
    async with salad() as (client, api):
        cloud = Cloud(api, "stopped", log=full)
        assert await client.delete(TAG) is None
        assert cloud.deleted.call_count == 1


async def test_the_order_of_events_of_one_instant_is_theirs():
    told = events(
        ("Instance Running", 10, "i-1"),
        ("Instance Exited:1 (Error)", 20, "i-1"),
        ("Instance Running", 20, "i-1"),
        ("Instance Running", 20, "i-1"),
        ("Instance Reallocated by User", 30, "i-1"),
        ("Instance Reallocated by User", 30, "i-1"),
    )
    async with salad() as (client, api):
        Cloud(api, "stopped", log=told)
        assert await client.delete(TAG) == Receipt(STARTED + 10, STARTED + 30, 20)


async def test_an_unreadable_reply_deletes_nothing():
    async with salad() as (client, api):
        cloud = Cloud(api, "stopped")
        api.get(INSTANCES).respond(json={"items": []})
        with pytest.raises(OutcomeUnknown):
            await client.delete(TAG)
        assert cloud.deleted.call_count == 0


async def test_a_wrong_project_ends_no_lease():
    async with salad() as (client, api):
        api.get(GROUP).respond(404)
        api.get(GROUPS).respond(404)
        with pytest.raises(OutcomeUnknown):
            await client.delete(TAG)


async def test_a_queue_goes_after_its_group():
    async with salad(mode="queue") as (client, api):
        Cloud(api, "stopped")
        queue = api.delete(QUEUE).respond(202)
        assert (await client.delete(TAG)).billed_s == 120
        assert queue.call_count == 0
        api.get(GROUP).respond(404)
        assert await client.delete(TAG) is None
        queue.respond(404)
        with pytest.raises(NotFound):
            await client.delete(TAG)
        assert queue.call_count == 2

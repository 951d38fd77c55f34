"""Buying from Comput3: without a token, one at a time, and never twice."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from comput3_api import KIND, PAGE, QUICK, SPEC, client, rows, workload
from rough_server import answer

from comput3.cloud import Comput3Emulator
from provider_clients.base import LaunchSpec
from provider_clients.comput3 import Patience
from provider_clients.errors import BadCredentials, NoCapacity, OutcomeUnknown, RateLimited, Rejected


async def test_a_launch_asks_for_an_absolute_end_as_their_own_page_does(rough, clock):
    server, comput3 = rough
    server.will(rows(), answer(200, '{"node": "a-b-c-gpu.comput3.ai", "workload": "1", "workload_key": "k"}'))
    made = await comput3.create(SPEC, "gpl-w-1")
    assert (made.id, made.tag, made.gpu_class) == ("1", "", KIND)
    assert made.address == "http://a-b-c-gpu.comput3.ai"
    assert made.lease_ends_at == int(clock() + 7200)
    look, launch = server.heard
    assert look.startswith(b"POST /workloads ")
    assert look.endswith(b'{"running":true}')
    assert launch.startswith(b"POST /launch ")
    assert json.loads(launch.partition(b"\r\n\r\n")[2]) == {"type": KIND, "expires": int(clock() + 7200)}
    for header in (b"X-C3-API-KEY: c3_api_test", b"Origin: https://launch.comput3.ai", b"application/json"):
        assert header in launch


async def test_a_lost_reply_is_found_and_bought_once(cloud, comput3):
    cloud.knobs.next.append("create_unknown")
    made = await comput3.create(SPEC, "gpl-w-1")
    assert [line.workload for line in cloud.live()] == [made.id]
    assert cloud.launches == 1
    assert made.address.startswith("http://127.0.0.1:")
    assert made.created_at is not None


async def test_a_lost_reply_is_found_in_a_list_that_lags(cloud, clock):
    comput3 = client(cloud.url, cloud.key, clock, patience=replace(QUICK, list_lag_s=10.0))
    cloud.knobs.next.append("create_unknown")
    cloud.knobs.list_lag_s = 0.15
    creating = asyncio.create_task(comput3.create(SPEC, "gpl-w-1"))
    await asyncio.sleep(0.1)
    cloud.now.now += 1.0
    made = await creating
    assert [line.workload for line in cloud.live()] == [made.id]
    await comput3.aclose()


async def test_a_lost_reply_stays_unknown_while_the_list_lags_on(cloud, comput3):
    cloud.knobs.next.append("create_unknown")
    cloud.knobs.list_lag_s = 60.0
    with pytest.raises(OutcomeUnknown, match="no new workload"):
        await comput3.create(SPEC, "gpl-w-1")
    cloud.now.now += 61.0
    (late,) = await comput3.list()
    assert (late.tag, late.gpu_class, late.running) == ("", KIND, True)
    assert late.created_at == int(cloud.now()) - 61
    assert cloud.launches == 1


async def test_a_lost_request_is_unknown_and_not_repeated(cloud, comput3):
    cloud.knobs.next.append("create_lost")
    with pytest.raises(OutcomeUnknown):
        await comput3.create(SPEC, "gpl-w-1")
    assert (cloud.launches, cloud.live()) == (1, [])


async def test_a_limit_is_believed_after_a_look(cloud, comput3):
    cloud.knobs.next += ["launch:rate_limited", "launch:rate_limited"]
    waits = []
    for tag in ("gpl-w-1", "gpl-w-2"):
        with pytest.raises(RateLimited) as caught:
            await comput3.create(SPEC, tag)
        waits.append(caught.value.retry_after_s)
    assert sorted(waits) == [7.0, 30.0]
    assert cloud.live() == []


async def test_a_limit_in_front_of_a_launch_that_worked_is_seen_through(rough, clock):
    server, comput3 = rough
    server.will(rows(), answer(429), rows(), rows(workload("1", clock)))
    assert (await comput3.create(SPEC, "gpl-w-1")).id == "1"


@pytest.mark.parametrize("fault", ["html_errors", "rate_limited"])
async def test_without_a_look_before_nothing_is_bought(cloud, comput3, fault):
    cloud.knobs.next += [f"workloads:{fault}"] * 3
    with pytest.raises(NoCapacity if fault == "html_errors" else RateLimited):
        await comput3.create(SPEC, "gpl-w-1")
    assert cloud.launches == 0


@pytest.mark.parametrize("status", [503, 400, 409])
async def test_an_empty_shelf_is_no_capacity(cloud, comput3, status):
    cloud.knobs.capacity, cloud.knobs.capacity_status = 0, status
    with pytest.raises(NoCapacity, match="No available nodes"):
        await comput3.create(SPEC, "gpl-w-1")
    assert cloud.launches == 1


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (402, "Payment required", NoCapacity),
        (403, "Not enough credits", NoCapacity),
        (403, "Invalid API key", BadCredentials),
        (400, "insufficient balance", NoCapacity),
        (400, "expires is in the past", Rejected),
        (404, "Not here", Rejected),
    ],
)
async def test_a_refusal_is_told_apart_by_its_words(rough, status, message, error):
    server, comput3 = rough
    server.will(rows(), answer(status, json.dumps({"message": message})))
    with pytest.raises(error, match=message) as caught:
        await comput3.create(SPEC, "gpl-w-1")
    assert type(caught.value) is error
    assert len(server.heard) == 2


async def test_an_empty_account_is_no_capacity(clock):
    async with Comput3Emulator(balance=5, clock=clock) as poor:
        comput3 = client(poor.url, poor.key, clock)
        with pytest.raises(NoCapacity, match="Insufficient balance"):
            await comput3.create(SPEC, "gpl-w-1")
        await comput3.aclose()


async def test_what_is_not_configured_is_not_asked_for(cloud, comput3):
    with pytest.raises(Rejected):
        await comput3.create(LaunchSpec("w-1", "ollama_webui:large", "", ""), "gpl-w-1")
    assert cloud.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, '{"workload": "1"}'),
        answer(200, '{"workload": "1", "node": "evil.example.com/path"}'),
        answer(200, '{"workload": 1, "node": "a.example.com"}'),
        answer(200, "[]"),
        answer(200, ""),
        answer(200, "ok", "text/plain"),
        answer(302, Location="http://127.0.0.1:1/"),
        answer(500, '{"message": "oops"}'),
        answer(503, "upstream unavailable", "text/plain"),
        b"",
    ],
)
async def test_any_doubt_is_looked_into(rough, clock, reply):
    server, comput3 = rough
    server.will(rows(), reply, PAGE, PAGE, PAGE, rows(workload("1", clock)))
    made = await comput3.create(SPEC, "gpl-w-1")
    assert (made.id, made.address) == ("1", "http://1-gpu.example.com")
    assert sum(b"POST /launch" in one for one in server.heard) == 1


async def test_when_no_look_succeeds_it_is_unknown_even_after_a_limit(rough):
    server, comput3 = rough
    server.will(rows(), answer(429), PAGE)
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        await comput3.create(SPEC, "gpl-w-1")


@pytest.mark.parametrize(
    "stranger",
    [
        {"type": "ollama_webui:fast"},
        {"created": 1_767_210_000},
        {"created": 1_767_219_000},
        {"expires": 1_767_221_000},
    ],
)
async def test_what_cannot_be_ours_is_not_adopted(rough, clock, stranger):
    server, comput3 = rough
    server.will(rows(), PAGE, rows(workload("1", clock, **stranger)))
    with pytest.raises(OutcomeUnknown, match="no new workload"):
        await comput3.create(SPEC, "gpl-w-1")


async def test_what_was_seen_before_is_not_adopted(rough, clock):
    server, comput3 = rough
    server.will(rows(workload("1", clock)), rows(), PAGE, rows(workload("1", clock)))
    await comput3.list()
    with pytest.raises(OutcomeUnknown):
        await comput3.create(SPEC, "gpl-w-1")


async def test_ours_is_told_from_a_strangers_by_its_end(rough, clock):
    server, comput3 = rough
    stranger = workload("0", clock, expires=int(clock()) + 7201)
    server.will(rows(), PAGE, rows(stranger), rows(stranger, workload("1", clock)))
    assert (await comput3.create(SPEC, "gpl-w-1")).id == "1"


async def test_two_that_may_be_ours_are_left_in_doubt(rough, clock):
    server, comput3 = rough
    both = [workload(str(at), clock, expires=int(clock()) + 7201 + at) for at in range(2)]
    server.will(rows(), PAGE, rows(*both))
    with pytest.raises(OutcomeUnknown, match="2 new workloads"):
        await comput3.create(SPEC, "gpl-w-1")


async def test_an_end_that_was_rounded_will_do_when_nothing_else_came(rough, clock):
    server, comput3 = rough
    server.will(rows(), PAGE, rows(workload("1", clock, expires=None, created=None)))
    assert (await comput3.create(SPEC, "gpl-w-1")).id == "1"


async def test_creates_take_turns_and_never_share_an_outcome(cloud, comput3):
    cloud.knobs.create_unknown = 1.0
    made = await asyncio.gather(*(comput3.create(SPEC, f"gpl-w-{at}") for at in range(5)))
    assert sorted(one.id for one in made) == sorted(line.workload for line in cloud.live())
    assert len({one.lease_ends_at for one in made}) == 5
    paths = [asked.path.rpartition("/")[2] for asked in cloud.requests]
    assert paths[:6] == ["workloads", "launch", "workloads"] * 2


async def test_launches_keep_their_distance(cloud, clock):
    comput3 = client(cloud.url, cloud.key, clock, patience=Patience(launch_gap_s=0.3))
    began = time.monotonic()
    await asyncio.gather(*(comput3.create(SPEC, f"gpl-w-{at}") for at in range(3)))
    assert time.monotonic() - began >= 0.6
    await comput3.aclose()


async def test_a_create_that_is_given_up_does_not_block_the_next(cloud, comput3):
    cloud.knobs.latency_s_max = 0.2
    creating = asyncio.create_task(comput3.create(SPEC, "gpl-w-1"))
    await asyncio.sleep(0.01)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    async with asyncio.timeout(5):
        await comput3.create(SPEC, "gpl-w-2")

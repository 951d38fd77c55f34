"""Comput3: bought without a token, listed without tags, stopped with a bill."""

import asyncio
import json
import time

import pytest
from comput3.cloud import Comput3Emulator
from rough_server import answer, rough_server

from provider_clients.base import LaunchSpec, Receipt
from provider_clients.comput3 import Comput3, Comput3Config, Patience
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from provider_clients.http import Limits

KIND = "media:fast"
SPEC = LaunchSpec("w-1", KIND, "http://127.0.0.1:1", "a-key")
QUICK = Patience(
    list_lag_s=0.3, look_every_s=0.05, launch_gap_s=0.0, probe_tries=3, probe_gap_s=0.05, probe_s_max=0.5
)
LIMITS = Limits(connect_s=1.0, read_s=2.0, total_s=3.0, tries=3, pause_s=0.001)
PAGE = answer(502, "<!DOCTYPE html>", "text/html")


class Clock:
    def __init__(self):
        self.now = 1_767_218_000.5

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def cloud(clock):
    async with Comput3Emulator(seed=1, clock=clock) as made:
        made.knobs.retry_after_s = 7
        yield made


@pytest.fixture
async def comput3(cloud, clock):
    made = client(cloud.url, cloud.key, clock)
    yield made
    await made.aclose()


@pytest.fixture
async def rough(clock):
    """The client on a server that answers whatever it is told to."""
    async with rough_server() as server:
        made = client(server.url, "c3_api_test", clock)
        yield server, made
        await made.aclose()


def client(url, key, clock, **changes):
    given = {"node_scheme": "http", "node_delay_s": 0.0, "patience": QUICK, **changes}
    return Comput3(Comput3Config(key, url, **given), clock=clock, limits=LIMITS)


def workload(id_, clock, **changes):
    now = int(clock())
    row = {
        "workload": id_,
        "node": f"{id_}-gpu.example.com",
        "type": KIND,
        "status": "running",
        "running": True,
    }
    return {**row, "created": now, "expires": now + 7200, **changes}


def rows(*listed):
    return answer(200, json.dumps(listed))


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


async def test_a_lost_reply_is_found_in_a_list_that_lags(cloud, comput3):
    cloud.knobs.next.append("create_unknown")
    cloud.knobs.list_lag_s = 0.15
    creating = asyncio.create_task(comput3.create(SPEC, "gpl-w-1"))
    await asyncio.sleep(0.1)
    cloud.now.now += 1.0
    made = await creating
    assert [line.workload for line in cloud.live()] == [made.id]


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


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "{}",
        '{"workloads": []}',
        "[1]",
        '[{"node": "a.example.com"}]',
        '[{"workload": ""}]',
        '[{"workload": "1", "created": "yesterday"}]',
        '[{"workload": "1", "expires": NaN}]',
        '[{"workload": "1"}, {"id": "2"}]',
        "<html>",
    ],
)
async def test_a_list_that_cannot_be_read_is_never_empty(rough, body):
    server, comput3 = rough
    server.will(answer(200, body))
    for reading in (comput3.list, lambda: comput3.get("1")):
        with pytest.raises(OutcomeUnknown):
            await reading()


@pytest.mark.parametrize(
    ("fields", "running"),
    [
        ({}, True),
        ({"running": None, "status": None}, True),
        ({"status": "starting"}, True),
        ({"status": "Stopped"}, False),
        ({"running": False}, False),
    ],
)
async def test_a_workload_says_whether_it_serves(rough, clock, fields, running):
    server, comput3 = rough
    server.will(rows(workload("1", clock, **fields)))
    (one,) = await comput3.list()
    assert one.running is running


async def test_a_node_that_is_no_host_is_no_address(rough, clock):
    server, comput3 = rough
    server.will(rows(workload("1", clock, node="a@evil.example.com"), workload("2", clock, node=None)))
    assert [one.address for one in await comput3.list()] == [None, None]


async def test_a_stop_brings_the_bill(cloud, comput3):
    made = await comput3.create(SPEC, "gpl-w-1")
    cloud.now.now += 1234.0
    receipt = await comput3.delete(made.id)
    (line,) = cloud.bill()
    assert receipt == Receipt(line.started, line.ended, 1234.0)
    with pytest.raises(NotFound):
        await comput3.delete(made.id)
    with pytest.raises(NotFound):
        await comput3.get(made.id)


async def test_a_stop_lags_and_its_first_bill_counts(cloud, comput3):
    cloud.knobs.stop_lag_s = 5.0
    made = await comput3.create(SPEC, "gpl-w-1")
    cloud.now.now += 100.0
    first = await comput3.delete(made.id)
    cloud.now.now += 2.0
    assert await comput3.delete(made.id) == first
    assert (await comput3.get(made.id)).id == made.id
    cloud.now.now += 4.0
    with pytest.raises(NotFound):
        await comput3.delete(made.id)
    assert first.billed_s == 100.0


async def test_a_stop_whose_reply_was_lost_brings_its_bill_later(cloud, comput3):
    made = await comput3.create(SPEC, "gpl-w-1")
    cloud.knobs.next.append("stop_unknown")
    cloud.now.now += 50.0
    with pytest.raises(OutcomeUnknown):
        await comput3.delete(made.id)
    cloud.now.now += 50.0
    receipt = await comput3.delete(made.id)
    (line,) = cloud.bill()
    assert receipt == Receipt(line.started, line.ended, 50.0)
    with pytest.raises(NotFound):
        await comput3.delete(made.id)


async def test_a_lease_that_ran_out_is_billed_whole(cloud, comput3):
    made = await comput3.create(SPEC, "gpl-w-1")
    await comput3.list()
    cloud.now.now += 8000.0
    receipt = await comput3.delete(made.id)
    (line,) = cloud.bill()
    assert receipt == Receipt(line.started, line.ended, 7200.0)
    with pytest.raises(NotFound):
        await comput3.delete(made.id)


async def test_what_the_list_does_not_show_yet_is_stopped_all_the_same(cloud, comput3):
    cloud.knobs.list_lag_s = 60.0
    made = await comput3.create(SPEC, "gpl-w-1")
    cloud.now.now += 10.0
    receipt = await comput3.delete(made.id)
    assert cloud.live() == []
    assert receipt.billed_s == pytest.approx(10.0, abs=1.0)


async def test_what_another_process_bought_is_stopped_with_its_bill(cloud, comput3, clock):
    made = await comput3.create(SPEC, "gpl-w-1")
    cloud.now.now += 60.0
    other = client(cloud.url, cloud.key, clock)
    assert (await other.delete(made.id)).billed_s == 60.0
    await other.aclose()


async def test_a_broken_list_does_not_keep_it_from_stopping(rough, clock):
    server, comput3 = rough
    stopped = answer(200, json.dumps({"stopped": int(clock()) + 60, "refund_amount": 1}))
    server.will(*[PAGE] * 9, stopped, rows(workload("1", clock)), stopped)
    assert await comput3.delete("1") is None
    assert server.heard[-1].startswith(b"POST /stop ")
    assert (await comput3.delete("1")).billed_s == 60.0


async def test_not_found_is_believed_only_if_the_list_says_so_too(rough, clock):
    server, comput3 = rough
    gone = answer(404, '{"message": "Workload not found"}')
    here = rows(workload("1", clock))
    server.will(here, gone, here, gone, PAGE, PAGE, PAGE, gone, rows())
    assert await comput3.delete("1") is None
    with pytest.raises(OutcomeUnknown):
        await comput3.delete("1")
    with pytest.raises(NotFound):
        await comput3.delete("1")


async def test_offers_are_what_is_on_sale_and_wanted_and_of_use(cloud, clock):
    kinds = (KIND, "media:slow", "ollama_webui:large")
    comput3 = client(cloud.url, cloud.key, clock, kinds=kinds, usd_per_hour=0.9, lease_s=3600.0)
    (offer,) = await comput3.offers()
    assert (offer.provider, offer.gpu_class, offer.usd_per_hour) == ("comput3", KIND, 0.9)
    assert (offer.boot_billed, offer.lease_s_max, offer.replace_after_s) == (True, 3600.0, 3600.0)
    assert [(one.engine, one.backend) for one in offer.capabilities] == [
        ("csm", "csm-gradio"),
        ("whisper", "whisperx-gradio"),
    ]
    account = await comput3.check()
    notes = " ".join(account.notes)
    assert (account.balance, account.workers_used) == (1_000_000, 0)
    assert "Not on offer: media:slow" in notes
    assert "No engine of ours runs on ollama_webui:large" in notes
    await comput3.aclose()


@pytest.mark.parametrize("body", ["{}", "[1]", '"media:fast"', ""])
async def test_types_that_cannot_be_read_are_no_empty_shop(rough, body):
    server, comput3 = rough
    server.will(answer(200, body))
    with pytest.raises(OutcomeUnknown):
        await comput3.offers()


async def test_a_wrong_key_is_named_by_every_call_that_needs_one(cloud, clock):
    comput3 = client(cloud.url, "c3_api_wrong", clock)
    for call in (comput3.list(), comput3.check(), comput3.create(SPEC, "t"), comput3.delete("1")):
        with pytest.raises(BadCredentials, match="Invalid API key"):
            await call
    assert cloud.launches == 0
    await comput3.aclose()


async def test_an_empty_account_is_said_so(rough):
    server, comput3 = rough
    server.will(answer(200, "[]"), answer(200, '{"balance": 0}'), rows())
    notes = " ".join((await comput3.check()).notes)
    assert "there is nothing" in notes
    assert "Nothing can be leased" in notes


async def test_a_probe_tries_a_few_times(cloud, comput3):
    cloud.knobs.boot_s = 0.07
    made = await comput3.create(SPEC, "gpl-w-1")
    assert await comput3.probe(made)
    await cloud.kill_node(made.id)
    assert not await comput3.probe(made)
    assert (await comput3.get(made.id)).running


async def test_a_probe_of_a_node_that_hangs_ends(cloud, comput3):
    made = await comput3.create(SPEC, "gpl-w-1")
    await cloud.kill_node(made.id, "hang")
    async with asyncio.timeout(3):
        assert not await comput3.probe(made)


async def test_a_new_name_is_not_looked_up_early(cloud, clock):
    comput3 = client(cloud.url, cloud.key, clock, node_delay_s=0.4)
    made = await comput3.create(SPEC, "gpl-w-1")
    began = time.monotonic()
    assert await comput3.probe(made)
    assert time.monotonic() - began >= 0.4
    clock.now += 10
    began = time.monotonic()
    assert await comput3.probe(made)
    assert time.monotonic() - began < 0.3
    await comput3.aclose()


def test_the_key_is_not_shown():
    assert "c3_api" not in repr(Comput3Config("c3_api_secret"))

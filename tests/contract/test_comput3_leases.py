"""What Comput3 tells of leases: lists without tags, stops with a bill, and what is on offer."""

import asyncio
import json
import time

import pytest
from comput3_api import KIND, PAGE, SPEC, client, rows, workload
from rough_server import answer
from stopwatch import Stopwatch

from provider_clients.base import Receipt
from provider_clients.comput3 import Comput3Config
from provider_clients.errors import BadCredentials, NotFound, OutcomeUnknown


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
        ("portrait", "sonic-node"),
        ("comfyui", "comfyui-node"),
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
    async with asyncio.timeout(15):
        assert not await comput3.probe(made)


async def test_a_new_name_is_not_looked_up_early(cloud, clock):
    comput3 = client(cloud.url, cloud.key, clock, node_delay_s=1.0)
    made = await comput3.create(SPEC, "gpl-w-1")
    began = time.monotonic()
    assert await comput3.probe(made)
    assert time.monotonic() - began >= 1.0
    clock.now += 10
    with Stopwatch() as took:
        assert await comput3.probe(made)
    assert took.seconds < 0.8
    await comput3.aclose()


def test_the_key_is_not_shown():
    assert "c3_api" not in repr(Comput3Config("c3_api_secret"))

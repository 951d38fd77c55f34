"""The provider contract for Salad, against the emulator: real HTTP, real processes, bodies as its document says."""

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from salad_api import SPEC, TAG

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from provider_clients.base import Exchanges, LaunchSpec, Probes, Protects
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from provider_clients.salad import Salad, SaladAccount, SaladConfig, SaladQueue
from provider_clients.salad.webhook import verify
from salad.emulator import SaladEmulator
from salad.knobs import Knobs
from scaling.snapshot import Capability

KEY = "salad-key"
CAPABLE = (Capability("csm", "test"),)
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
APP = (
    sys.executable,
    "-c",
    """
import http.server, json, os
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(asked.get("status", 200), {"asked": asked})
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
http.server.HTTPServer(("127.0.0.1", int(os.environ["GPULEASE_WORKER_PORT"])), App).serve_forever()
""",
)


def client(cloud, **config):
    return Salad(
        SaladConfig(
            **{
                "api_key": KEY,
                "organization": "acme",
                "project": "render",
                "image": "ghcr.io/acme/worker:1",
                "base_url": cloud.url,
                "capabilities": CAPABLE,
                "per_minute": 6000.0,
                **config,
            }
        )
    )


@asynccontextmanager
async def opened(cloud, **config):
    provider = client(cloud, **config)
    try:
        yield provider
    finally:
        await provider.aclose()


@pytest.fixture
async def cloud(request):
    knobs = Knobs(allocate_s=0.02, download_s=0.05, create_s=0.02, stop_lag_s=0.1)
    async with SaladEmulator(KEY, argv=getattr(request, "param", SLEEP), knobs=knobs) as emulator:
        yield emulator
        assert emulator.violations == []


@pytest.fixture
async def provider(cloud):
    async with opened(cloud) as made:
        yield made


async def until(ask, patience_s=20.0):
    """Asks again until the answer is a yes, and returns it."""
    async with asyncio.timeout(patience_s):
        while not (answer := await ask()):
            await asyncio.sleep(0.05)
    return answer


async def gone(provider, instance_id):
    """Deletes until "not found", as the orchestrator does, and returns the receipt."""
    receipt = None
    async with asyncio.timeout(20):
        while True:
            try:
                receipt = await provider.delete(instance_id) or receipt
            except NotFound:
                return receipt
            await asyncio.sleep(0.05)


async def running(provider):
    made = await provider.create(SPEC, TAG)
    await until(lambda: provider.probe(made))
    return made


async def test_offers_name_their_provider(provider):
    offers = await provider.offers()
    assert [one.gpu_class for one in offers] == [
        "RTX 3060",
        "RTX 3090",
        "RTX A5000",
        "RTX 3090 Ti",
        "RTX 4090",
    ]
    cheapest = offers[0]
    assert (cheapest.provider, cheapest.usd_per_hour, cheapest.capabilities) == ("salad", 0.04, CAPABLE)
    assert (cheapest.vram_gb, cheapest.boot_billed) == (12, False)


@pytest.mark.parametrize(("planned_usd", "billed_usd"), [(0.0, 0.16), (0.16, 0.16), (0.3, 0.3)])
async def test_a_machine_is_billed_at_the_priority_that_it_was_planned_with(cloud, planned_usd, billed_usd):
    async with opened(cloud, priorities=("batch", "high")) as provider:
        prices = [one.usd_per_hour for one in await provider.offers() if one.gpu_class == "RTX 4090"]
        assert prices == [0.16, 0.3]
        made = await provider.create(replace(SPEC, usd_per_hour=planned_usd), TAG)
        await until(lambda: provider.probe(made))
        await gone(provider, made.id)
    [line] = cloud.bill()
    assert 3600 * line.usd / (line.ended - line.started) == pytest.approx(billed_usd, rel=0.01)


async def test_what_is_created_is_listed_until_it_is_deleted(provider, cloud):
    assert await provider.list() == ()
    made = await provider.create(SPEC, TAG)
    assert (made.tag, made.gpu_class) == (TAG, "RTX 4090")
    assert [(one.tag, one.gpu_class, one.running) for one in await provider.list()] == [
        (TAG, "RTX 4090", True)
    ]
    assert (await provider.get(made.id)).id == made.id
    await gone(provider, made.id)
    assert await provider.list() == ()
    assert cloud.live() == ()
    with pytest.raises(NotFound):
        await provider.get(made.id)


async def test_a_repeated_delete_is_harmless(provider):
    made = await provider.create(SPEC, TAG)
    await gone(provider, made.id)
    for _ in range(2):
        with pytest.raises(NotFound):
            await provider.delete(made.id)


async def test_deleting_what_never_was_is_not_found(provider):
    with pytest.raises(NotFound):
        await provider.delete("nonesuch")


async def test_a_lost_reply_makes_one_group(provider, cloud):
    cloud.knobs.next.append("create_unknown")
    cloud.knobs.list_lag_s = 60.0
    assert (await provider.create(SPEC, TAG)).tag == TAG
    assert len({one.group for one in cloud.live()}) == 1
    assert await provider.list() == ()  # This lag is what `list_lag_s` tells of.


async def test_a_lost_request_is_a_doubt_and_makes_none(provider, cloud):
    cloud.knobs.next.append("create_lost")
    with pytest.raises(OutcomeUnknown):
        await provider.create(SPEC, TAG)
    assert cloud.live() == ()


async def test_the_same_tag_is_the_same_group(cloud):
    async with opened(cloud) as first, opened(cloud) as second:
        made = await first.create(SPEC, TAG)
        assert (await second.create(SPEC, TAG)).created_at == made.created_at
        assert len({one.group for one in cloud.live()}) == 1


async def test_refusals_make_nothing(provider, cloud):
    for fault, error in (("capacity", NoCapacity), ("rate_limited_wait", RateLimited)):
        await provider.offers()
        cloud.knobs.next.append(fault)
        with pytest.raises(error):
            await provider.create(SPEC, TAG)
    assert cloud.live() == ()


async def test_a_full_quota_is_no_capacity_and_no_offer(provider, cloud):
    cloud.knobs.replicas_quota = 1
    await provider.create(SPEC, TAG)
    assert {one.count_max for one in await provider.offers()} == {0}
    with pytest.raises(NoCapacity):
        await provider.create(LaunchSpec("w-2", "RTX 3090", "http://127.0.0.1:1", "k"), f"{TAG}2")


async def test_an_error_is_never_an_empty_list(provider, cloud):
    cloud.knobs.next.append("html_errors")
    assert await provider.list() == ()  # Reads are repeated.
    cloud.knobs.html_errors = 1.0
    with pytest.raises(OutcomeUnknown, match="HTML"):
        await provider.list()
    cloud.knobs.html_errors = 0.0


async def test_the_receipt_is_the_bill(provider, cloud):
    made = await running(provider)
    cloud.interrupt(made.id)
    await until(lambda: asyncio.sleep(0, len(cloud.bill()) == 2))
    await until(lambda: provider.probe(made))
    await provider.exchange(made.id, "to be billed thrice")
    await until(lambda: asyncio.sleep(0, len(cloud.bill()) == 3))
    receipt = await gone(provider, made.id)
    lines = cloud.bill()
    assert receipt.billed_s == pytest.approx(sum(one.ended - one.started for one in lines), abs=1e-4)
    assert receipt.started_at == pytest.approx(lines[0].started, abs=1e-4)
    assert receipt.ended_at == pytest.approx(lines[-1].ended, abs=1e-4)


async def test_what_never_ran_costs_nothing(provider, cloud):
    cloud.knobs.allocate_s = 60.0
    made = await provider.create(SPEC, TAG)
    assert (await gone(provider, made.id)).billed_s == 0
    assert cloud.bill() == ()


async def test_lost_replies_on_the_way_out_leave_nothing(provider, cloud):
    made = await running(provider)
    cloud.knobs.next += ["html_errors", "html_errors"]
    receipt = await gone(provider, made.id)
    assert receipt.billed_s == pytest.approx(sum(one.ended - one.started for one in cloud.bill()), abs=1e-4)
    assert cloud.live() == ()


async def test_an_exchange_is_another_machine(provider, cloud):
    assert isinstance(provider, Exchanges)
    made = await running(provider)
    before = (await provider.get(made.id)).host_id
    await provider.exchange(made.id, "too slow")

    async def moved():
        host = (await provider.get(made.id)).host_id
        return host is not None and host != before

    assert await until(moved)


async def test_a_slow_download_is_told_of(cloud):
    cloud.knobs.slow_download = 1.0
    async with opened(cloud, image_gb=0.001) as provider:
        made = await provider.create(SPEC, TAG)

        async def trouble():
            return (await provider.get(made.id)).trouble

        assert "downloading" in await until(trouble)
        cloud.knobs.slow_download = 0.0
        await provider.exchange(made.id, "slow")
        assert await until(lambda: provider.probe(made))


async def test_busy_instances_are_protected(provider, cloud):
    assert isinstance(provider, Protects)
    made = await running(provider)
    await provider.protect(made.id, busy=True)
    await provider.protect(made.id, busy=False)
    assert [one.status for one in cloud.calls if one.method == "PATCH"] == [200, 200]


async def test_a_probe_follows_the_container(provider, cloud):
    assert isinstance(provider, Probes)
    made = await running(provider)
    cloud.knobs.allocate_s = 60.0
    cloud.interrupt(made.id)

    async def ended():
        return not await provider.probe(made)

    assert await until(ended)


async def test_a_check_reads_only_and_is_in_words(provider, cloud):
    await provider.create(SPEC, TAG)
    cloud.calls.clear()
    found = await provider.check()
    assert (found.workers_max, found.workers_used) == (100, 1)
    assert "1 container groups" in found.notes[0]
    assert {one.method for one in cloud.calls} == {"GET"}


async def test_a_check_says_what_is_wrong(cloud):
    async with opened(cloud, api_key="wrong") as provider:
        with pytest.raises(BadCredentials, match="not valid"):
            await provider.check()
    async with opened(cloud, project="other") as provider:
        with pytest.raises(Rejected, match="no project other of acme"):
            await provider.check()
        with pytest.raises(OutcomeUnknown):
            await provider.delete(TAG)
    async with opened(cloud, base_url="http://127.0.0.1:9/api/public") as provider:
        with pytest.raises(OutcomeUnknown, match="cannot be reached"):
            await provider.check()


@asynccontextmanager
async def queue(cloud):
    jobs = SaladQueue(SaladAccount(KEY, "acme", "render", cloud.url, per_minute=6000.0))
    try:
        yield jobs
    finally:
        await jobs.aclose()


async def ended(jobs, name, job_id):
    async def look():
        job = await jobs.job(name, job_id)
        return job if job.status in {"succeeded", "failed", "cancelled"} else None

    return await until(look)


@pytest.mark.parametrize("cloud", [APP], indirect=True)
async def test_a_queue_gives_its_jobs_to_the_container(cloud):
    async with opened(cloud, mode="queue") as provider, queue(cloud) as jobs:
        made = await provider.create(SPEC, TAG)
        assert made.address == TAG
        first = await jobs.post(TAG, {"text": "hi"}, {"id": "a-1"})
        cloud.knobs.next.append("job_unknown")
        second = await jobs.post(TAG, {"status": 422}, {"id": "a-2"})
        done = await ended(jobs, TAG, first)
        assert (done.status, done.output) == ("succeeded", {"asked": {"text": "hi"}})
        assert [one.action for one in done.events] == ["created", "started", "succeeded"]
        # A refusal by the app is a success of the job.
        assert (await ended(jobs, TAG, second)).status == "succeeded"
        assert len([one async for one in jobs.jobs(TAG)]) == 2
        assert (await gone(provider, made.id)).billed_s > 0
        with pytest.raises(NotFound):
            await jobs.job(TAG, first)
        assert cloud.live() == ()


async def test_a_waiting_job_is_cancelled(cloud):
    cloud.knobs.allocate_s = 60.0
    async with opened(cloud, mode="queue") as provider, queue(cloud) as jobs:
        await provider.create(SPEC, TAG)
        job_id = await jobs.post(TAG, {}, {"id": "a-1"})
        await jobs.cancel(TAG, job_id)
        assert (await jobs.job(TAG, job_id)).status == "cancelled"
        with pytest.raises(Rejected, match="cancelled"):
            await jobs.cancel(TAG, job_id)


@asynccontextmanager
async def mailbox():
    """Where webhooks go: a bare server, so that bodies and headers are seen as they came."""
    letters = asyncio.Queue()

    async def take(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in head if line)
        lengths = {name.lower(): value for name, value in headers.items()}
        letters.put_nowait((headers, await reader.readexactly(int(lengths["content-length"]))))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield letters, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


async def test_news_of_a_job_are_believed_by_the_secret(cloud):
    cloud.knobs.allocate_s = 60.0
    async with opened(cloud, mode="queue") as provider, queue(cloud) as jobs, mailbox() as (letters, url):
        await provider.create(SPEC, TAG)
        job_id = await jobs.post(TAG, {}, {"id": "a-1"}, url)
        await jobs.cancel(TAG, job_id)
        async with asyncio.timeout(10):
            headers, body = await letters.get()
        sent_at = float({name.lower(): value for name, value in headers.items()}["webhook-timestamp"])
        news = verify(headers, body, [await provider.webhook_secret()], sent_at)
        assert (news.job_id, news.queue, news.status) == (job_id, TAG, "cancelled")

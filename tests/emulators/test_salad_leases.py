"""Our own client against the emulated Salad: both read the same document, and agree on the bill."""

import asyncio
import sys
import time
from dataclasses import replace

import pytest

from provider_clients.base import LaunchSpec
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown
from provider_clients.salad import Salad, SaladConfig, SaladQueue
from salad.scene import KEY, SLEEP, scene, until
from scaling.snapshot import Capability

pytestmark = pytest.mark.slow

SPEC = LaunchSpec(
    worker_id="w-1",
    gpu_class="RTX 4090",
    orchestrator_url="http://127.0.0.1:9",
    worker_key="wk-secret",
)
CONFIG = SaladConfig(
    api_key=KEY,
    organization="acme",
    project="render",
    image="ghcr.io/acme/worker:1",
    gpu_classes=("RTX 4090", "RTX 3060"),
    capabilities=(Capability("whisper", ("small",)),),
    per_minute=100_000,
)
WORKER = (sys.executable, "-m", "worker_image")


def config(salad, **changes):
    return replace(CONFIG, base_url=salad.cloud.url, **changes)


async def gone(client, tag, within_s=30.0):
    """Deletes as the orchestrator does, and returns the receipt."""
    receipt, end = None, time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            receipt = await client.delete(tag) or receipt
        except NotFound:
            return receipt
        await asyncio.sleep(0.05)
    raise AssertionError(f"{tag} is still there")


@pytest.fixture
async def leased():
    async with scene(SLEEP) as salad:
        client = Salad(config(salad))
        yield salad, client
        await client.aclose()


async def test_a_lease_from_the_offer_to_the_receipt(leased):
    salad, client = leased
    assert {one.gpu_class for one in await client.offers()} == {"RTX 4090", "RTX 3060"}
    made = await client.create(SPEC, "d-w-1")
    assert (made.id, made.gpu_class) == ("d-w-1", "RTX 4090")
    running = await salad.until_running("d-w-1")
    found = await client.get("d-w-1")
    assert (found.host_id, await client.probe(found)) == (running["machine_id"], True)
    await client.protect("d-w-1", busy=True)
    assert (await salad.instances("d-w-1"))[0]["deletion_cost"] > 0
    await client.exchange("d-w-1", "too slow")
    await until(lambda: len(salad.cloud.bill()) == 2)
    receipt = await gone(client, "d-w-1")
    billed_s = sum(line.ended - line.started for line in salad.cloud.bill())
    assert receipt.billed_s == pytest.approx(billed_s, abs=1e-4)
    assert salad.cloud.live() == ()
    assert await client.list() == ()


async def test_a_create_in_doubt_is_found_or_stays_in_doubt(leased):
    salad, client = leased
    salad.cloud.knobs.next = ["create_unknown"]
    assert (await client.create(SPEC, "d-w-1")).id == "d-w-1"
    salad.cloud.knobs.next = ["create_lost"]
    with pytest.raises(OutcomeUnknown):
        await client.create(SPEC, "d-w-2")
    salad.cloud.knobs.next = ["capacity"]
    with pytest.raises(NoCapacity):
        await client.create(SPEC, "d-w-3")
    assert [one.id for one in await client.list()] == ["d-w-1"]


async def test_many_faults_and_the_receipt_is_still_the_bill(leased):
    salad, client = leased
    salad.cloud.knobs.node_death_within_s = salad.cloud.knobs.preemption_within_s = 0.2
    salad.cloud.knobs.next = ["node_death", "preemption", "stop_unknown", "stop_unknown"]
    await client.create(SPEC, "d-w-1")
    await until(lambda: len(salad.cloud.bill()) == 3)
    receipt = None
    for _ in range(400):
        try:
            receipt = await client.delete("d-w-1") or receipt
        except OutcomeUnknown:
            continue
        except NotFound:
            break
        await asyncio.sleep(0.02)
    billed_s = sum(line.ended - line.started for line in salad.cloud.bill())
    assert receipt.billed_s == pytest.approx(billed_s, abs=1e-4)


async def test_a_queue_brings_its_jobs_to_a_real_worker():
    async with scene(WORKER) as salad:
        client = Salad(config(salad, mode="queue"))
        queue = SaladQueue(config(salad, mode="queue").account)
        await client.create(SPEC, "d-w-1")
        job_id = await queue.post("d-w-1", {"engine": "nothing", "job_id": "j-1"}, {"id": "j-1"})
        for _ in range(300):
            job = await queue.job("d-w-1", job_id)
            if job.status in {"succeeded", "failed"}:
                break
            await asyncio.sleep(0.05)
        assert (job.status, job.output["status"]) == ("succeeded", "failed"), salad.cloud.log("d-w-1")
        assert await gone(client, "d-w-1") is not None
        assert salad.cloud.live() == ()
        await client.aclose()
        await queue.aclose()

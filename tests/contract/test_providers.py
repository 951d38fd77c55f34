"""The provider contract, for every implementation: real processes, and the fake."""

import asyncio
import sys
from contextlib import asynccontextmanager

import psutil
import pytest

from provider_clients.base import LaunchSpec
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError
from provider_clients.fake import FakeCloud, Fault
from provider_clients.local import LocalProvider
from scaling.snapshot import Capability, Offer

CAPABLE = (Capability("csm", "test"),)
SPEC = LaunchSpec("w-1", "cpu", "http://127.0.0.1:1", "a-key")
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-c",
    (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "time.sleep(600)"
    ),
)


def local(folder, command=SLEEP, workers_max=3):
    return LocalProvider(folder / "instances", 0.36, workers_max, CAPABLE, command=command)


@asynccontextmanager
async def opened(provider):
    try:
        yield provider
    finally:
        for instance in await provider.list():
            await gone(provider, instance.id)


async def gone(provider, instance_id, patience_s=20):
    """Deletes until "not found", as the orchestrator does."""
    async with asyncio.timeout(patience_s):
        while True:
            try:
                await provider.delete(instance_id)
            except NotFound:
                return
            await asyncio.sleep(0.05)


@pytest.fixture(params=["local", "fake"])
async def provider(request, tmp_path):
    made = (
        local(tmp_path)
        if request.param == "local"
        else FakeCloud(offered=(Offer("fake", "cpu", 0.36, CAPABLE),))
    )
    async with opened(made):
        yield made


async def test_offers_name_their_provider(provider):
    (offer,) = await provider.offers()
    assert (offer.provider, offer.usd_per_hour, offer.capabilities) == (provider.name, 0.36, CAPABLE)


async def test_what_is_created_is_listed_until_it_is_deleted(provider):
    assert await provider.list() == ()
    made = await provider.create(SPEC, "gpl-w-1")
    assert made.tag == "gpl-w-1"
    assert [one.tag for one in await provider.list()] == ["gpl-w-1"]
    assert (await provider.get(made.id)).id == made.id
    await gone(provider, made.id)
    assert await provider.list() == ()
    with pytest.raises(NotFound):
        await provider.get(made.id)


async def test_a_repeated_delete_is_harmless(provider):
    made = await provider.create(SPEC, "gpl-w-1")
    await gone(provider, made.id)
    for _ in range(2):
        with pytest.raises(NotFound):
            await provider.delete(made.id)


async def test_deleting_what_never_was_is_not_found(provider):
    with pytest.raises(NotFound):
        await provider.delete("nonesuch")


async def test_local_instances_are_found_by_another_provider_object(tmp_path):
    async with opened(local(tmp_path)) as first:
        made = await first.create(SPEC, "gpl-w-1")
        second = local(tmp_path)
        assert [one.id for one in await second.list()] == [made.id]
        assert (await second.create(SPEC, "gpl-w-1")).id == made.id
        assert len(await second.list()) == 1
        await gone(second, made.id)
        assert await first.list() == ()


async def test_local_kills_what_will_not_end_and_all_that_it_started(tmp_path):
    async with opened(local(tmp_path, STUBBORN)) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        async with asyncio.timeout(10):
            while len(provider._processes().get(made.id, ())) < 2:
                await asyncio.sleep(0.05)
        await gone(provider, made.id)
        assert provider._processes() == {}


async def test_local_asks_once_before_it_kills(tmp_path):
    """Of a second SIGTERM a worker dies at once, with the job that it was finishing."""
    asked = tmp_path / "asked"
    program = (
        "import pathlib, signal, time\n"
        "def note(*_):\n"
        f"    pathlib.Path({str(asked)!r}).open('a').write('x')\n"
        "    signal.alarm(2)\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "pathlib.Path('ready').touch()\n"
        "while True: time.sleep(0.1)"
    )
    async with opened(local(tmp_path, (sys.executable, "-c", program))) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        async with asyncio.timeout(10):
            while not (provider.instances_dir / made.id / "ready").exists():
                await asyncio.sleep(0.05)
        await gone(provider, made.id)
    assert asked.read_text() == "x"


@pytest.mark.parametrize("instance_id", ["", ".", "..", "../kept", "a/b"])
async def test_local_removes_only_folders_of_instances(tmp_path, instance_id):
    kept = tmp_path / "kept"
    kept.mkdir()
    async with opened(local(tmp_path)) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        with pytest.raises(NotFound):
            await provider.delete(instance_id)
        assert kept.exists()
        assert (provider.instances_dir / made.id).exists()


async def test_local_lists_the_orphans_of_a_killed_worker(tmp_path):
    async with opened(local(tmp_path, STUBBORN)) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        async with asyncio.timeout(10):
            while len(processes := provider._processes().get(made.id, ())) < 2:
                await asyncio.sleep(0.05)
        next(one for one in processes if "--instance" in one.cmdline()).kill()
        await asyncio.sleep(0.1)
        assert [one.id for one in await provider.list()] == [made.id]
        await gone(provider, made.id)


async def test_local_has_a_bound(tmp_path):
    async with opened(local(tmp_path, workers_max=1)) as provider:
        await provider.create(SPEC, "gpl-w-1")
        assert (await provider.offers())[0].count_max == 0
        with pytest.raises(NoCapacity):
            await provider.create(SPEC, "gpl-w-2")


async def test_local_keeps_the_key_out_of_the_command_line_and_ours_out_of_its_environment(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SALAD_API_KEY", "ours")
    async with opened(local(tmp_path)) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        (process,) = provider._processes()[made.id]
        assert "a-key" not in " ".join(process.cmdline())
        assert process.environ()["GPULEASE_WORKER_KEY"] == "a-key"
        assert "SALAD_API_KEY" not in process.environ()


async def test_local_leaves_no_zombies(tmp_path):
    async with opened(local(tmp_path)) as provider:
        made = await provider.create(SPEC, "gpl-w-1")
        await gone(provider, made.id)
        children = psutil.Process().children()
        assert [one for one in children if one.status() == psutil.STATUS_ZOMBIE] == []
        assert not (tmp_path / "instances" / made.id).exists()
        assert (tmp_path / "worker-logs" / f"{made.id}.log").exists()


async def test_the_fake_loses_a_reply_and_bills_all_the_same():
    now = [0.0]
    cloud = FakeCloud(offered=(Offer("fake", "cpu", 3.6, CAPABLE),), clock=lambda: now[0])
    cloud.faults.append(Fault.lost_reply())
    with pytest.raises(OutcomeUnknown):
        await cloud.create(SPEC, "gpl-w-1")
    now[0] = 1000.0
    (instance,) = await cloud.list()
    assert instance.tag == "gpl-w-1"
    assert cloud.billed_usd() == pytest.approx(1.0)


async def test_the_fake_refuses_without_making():
    cloud = FakeCloud()
    cloud.faults += [Fault.no_capacity(), Fault.lost_request(), Fault("list", ProviderError("HTTP 502"))]
    with pytest.raises(NoCapacity):
        await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(OutcomeUnknown):
        await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(ProviderError):
        await cloud.list()
    assert await cloud.list() == ()


async def test_the_fake_boots_and_tells():
    booted = []
    cloud = FakeCloud(boot_s=0.01, on_boot=lambda spec: booted.append(spec.worker_id))
    await cloud.create(SPEC, "gpl-w-1")
    await asyncio.sleep(0.05)
    assert booted == ["w-1"]


async def test_the_fake_says_so_when_create_is_repeated():
    cloud = FakeCloud()
    await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(AssertionError):
        await cloud.create(SPEC, "gpl-w-1")

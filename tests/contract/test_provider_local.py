"""Worker processes on this machine, leased like a cloud's: what a restart finds, what dies, what is left."""

import asyncio
import sys

import psutil
import pytest
from provider_worlds import SPEC, gone, local, opened

from provider_clients.errors import NoCapacity, NotFound

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
        while "GPULEASE_WORKER_KEY" not in process.environ():  # It has not become itself yet.
            await asyncio.sleep(0.01)
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

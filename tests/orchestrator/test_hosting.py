"""The child that hosts a provider's agents: started, started again, ended with us, whatever ends us."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.fleet.clouds.leases import Deployment
from orchestrator.fleet.hosting import Hosting
from orchestrator.keys import host_key
from orchestrator.store.memory import MemoryStore

CHILD = """
import os, sys
with open(os.environ["NOTES"], "a") as notes:
    print(os.getpid(), sys.argv[1:], os.environ["GPULEASE_HOST_KEY"], "SECRET" in os.environ, file=notes)
sys.stdin.read()
"""
DEPLOYMENT = Deployment("gpl", b"secret", lambda: "http://127.0.0.1:1")


def hosting(folder: Path, program: str = CHILD) -> Hosting:
    environments = {"comput3": {"NOTES": str(folder / "notes")}}
    return Hosting(MemoryStore(), DEPLOYMENT, environments, folder, (sys.executable, "-c", program))


async def notes(folder: Path, count: int) -> list[list[str]]:
    """What the children said of themselves, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            path = folder / "notes"
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= count:
                return [line.split(" ", 1) for line in lines]
            await asyncio.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


async def test_a_child_knows_its_name_and_its_key_and_nothing_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "of ours")
    keeper = hosting(tmp_path)
    keeper.start()
    [[pid, said]] = await notes(tmp_path, 1)
    assert said == f"['--host', 'comput3'] {host_key(b'secret', 'comput3')} False"
    await keeper.stop()
    assert not lives(int(pid))


async def test_a_child_that_is_killed_is_started_again(tmp_path):
    keeper = hosting(tmp_path)
    ended = []
    keeper.on_exit = lambda name, status: ended.append((name, status))
    keeper.start()
    [[first, _]] = await notes(tmp_path, 1)
    os.kill(int(first), signal.SIGKILL)
    second = (await notes(tmp_path, 2))[1][0]
    assert second != first
    assert ended == [("comput3", -signal.SIGKILL)]
    await keeper.stop()
    assert not lives(int(second))


async def test_start_and_stop_survive_any_order(tmp_path):
    keeper = hosting(tmp_path)
    await keeper.stop()
    keeper.start()
    keeper.start()
    await notes(tmp_path, 1)
    await keeper.stop()
    await keeper.stop()
    assert len(await notes(tmp_path, 1)) == 1


async def test_a_program_that_is_not_there_is_tried_again(tmp_path):
    keeper = Hosting(MemoryStore(), DEPLOYMENT, {"comput3": {}}, tmp_path, ("/nowhere/python",))
    ended = asyncio.Event()
    keeper.on_exit = lambda *_: ended.set()
    keeper.start()
    await asyncio.wait_for(ended.wait(), 10)
    await keeper.stop()


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc who lives")
def test_a_child_does_not_outlive_an_orchestrator_that_is_killed(tmp_path):
    parent = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_hosting import hosting
async def main():
    hosting(Path({str(tmp_path)!r})).start()
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    pid = int(asyncio.run(notes(tmp_path, 1))[0][0])
    assert lives(pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(pid)

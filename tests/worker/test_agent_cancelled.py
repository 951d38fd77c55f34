"""An agent that is cancelled, whenever that comes, leaves no connection to its orchestrator."""

import asyncio
from pathlib import Path

import psutil
import pytest
from agent_orchestrator import KEY, Emulator

from gpulease.contract.agent import EngineOffer
from worker_image.agent import Agent, Machine
from worker_image.link import Link
from worker_image.media.prefetch import Prefetched
from worker_image.serving.beats import BeatThread
from worker_image.settings import Settings
from worker_image.slots import Slots

TURNS = range(8, 44, 2)
"""Of the event loop until it is cancelled: it connects, registers, and then beats and claims."""


class Idle:
    """An engine that gets no work."""

    offers = (EngineOffer(engine="csm", backend="told"),)

    def resident(self) -> tuple[str, ...]:
        return ()


def agent(world: Emulator, folder: Path, link: Link, thread: BeatThread | None) -> Agent:
    settings = Settings(orchestrator_url=world.url, worker_id="w-1", scratch=folder, grace_s=0.0)
    machine = Machine(settings, Idle(), Prefetched(folder / "prefetched"), Slots(1), folder)
    return Agent(machine, link, thread=thread)


async def turn(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def connections(world: Emulator) -> list[object]:
    """Of this process, to the orchestrator."""
    port = int(world.url.rsplit(":", 1)[1])
    return [one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == port]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("cancels", [1, 2])
async def test_it_leaves_no_connection(world: Emulator, tmp_path: Path, *, shared: bool, cancels: int):
    thread = BeatThread() if shared else None
    for turns in TURNS:
        link = Link(world.url, "w-1", KEY)
        running = asyncio.create_task(agent(world, tmp_path, link, thread).run())
        await turn(turns)
        for _ in range(cancels):
            running.cancel()
            await turn(3)
        await asyncio.gather(running, return_exceptions=True)
        await link.aclose()
        if cancels == 1:
            assert connections(world) == [], turns
    if thread is not None:
        thread.close()
    assert connections(world) == []
    assert world.registered
    assert world.nonces, "it was cancelled while it claimed, too"

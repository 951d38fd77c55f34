"""The agents of all machines, in one process: real agents over real sockets, around an engine that sleeps.

It takes the place of the host that `gpulease up` starts for Comput3: it asks for the same duties with the same key.
"""

import asyncio
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import structlog
from pydantic import SecretStr
from replaying.cloud import Box, DrawnCloud
from replaying.engine import Runs, SleepingEngine

from gpulease.contract.hosts import HOST_PERIOD_S, Duty
from worker_image.agent import Agent, Exit, Machine
from worker_image.hosted.duties import Asker
from worker_image.link import Link
from worker_image.media.prefetch import Prefetched
from worker_image.serving.beats import BeatThread
from worker_image.settings import Settings
from worker_image.slots import Slots


@dataclass(frozen=True, slots=True)
class Home:
    """What the agents share. `url` is the orchestrator's."""

    url: str
    scratch: Path
    models: tuple[str, ...]
    load_s: float
    runs: Runs
    thread: BeatThread = field(default_factory=BeatThread)


async def serve(cloud: DrawnCloud, home: Home, host_key: str) -> None:
    """Until it is cancelled: each machine that is leased gets an agent when it has booted."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asker = Asker(home.url, "comput3", host_key)
    try:
        while True:
            duties = await asker.ask()
            for duty in duties.duties if duties else ():
                box = cloud.boxes.get(duty.address)
                if box is not None and box.agent is None:
                    box.agent = asyncio.create_task(_work(home, box, duty))
            await asyncio.sleep(HOST_PERIOD_S)
    finally:
        await asker.aclose()


async def _work(home: Home, box: Box, duty: Duty) -> None:
    await box.booted.wait()
    folder = home.scratch / str(box.number) / uuid4().hex
    folder.mkdir(parents=True)
    link = Link(home.url, duty.worker_id, duty.worker_key)
    try:
        ended = await Agent(_machine(home, duty, box.number, folder), link, thread=home.thread).run()
    finally:
        await link.aclose()
    if ended is not Exit.STOPPED:
        print(f"the agent of machine {box.number} ended: {ended.name}", file=sys.stderr, flush=True)


def _machine(home: Home, duty: Duty, node: int, folder: Path) -> Machine:
    settings = Settings(
        orchestrator_url=home.url,
        worker_id=duty.worker_id,
        worker_key=SecretStr(duty.worker_key),
        scratch=folder,
        capacity=1,
        usd_per_hour=0.0,
        grace_s=0.0,
    )
    engine = SleepingEngine(home.models, duty, node, home.load_s, home.runs)
    prefetched = Prefetched(folder / "prefetched")
    return Machine(settings, engine, prefetched, Slots(settings.capacity), folder, duty.gpu_class)

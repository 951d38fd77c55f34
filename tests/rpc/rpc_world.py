"""The gRPC server over local jobs, whose engine here is one that does as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

import video_wire
from gpulease.contract.agent import EngineOffer
from gpulease.contract.jobs import Phase
from gpulease.contract.video_generator_pb2_grpc import GeneratorStub, VideoGeneratorStub
from worker_image.engines.base import MadeFile, Outcome
from worker_image.execute import Made
from worker_image.host.process import Step
from worker_image.local import LocalJobs
from worker_image.media.fetch import Fetcher
from worker_image.rpc.serve import make_server
from worker_image.settings import Settings
from worker_image.slots import Slots

OFFER = EngineOffer(engine="video", backend="told", models=("mochi-1-preview", "wan"))


@dataclass
class Told:
    """An engine of the protocol `Runs`: it takes `steps` steps, waits for `go` before the last, and then ends."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    steps: int = 3
    fault: Exception | None = None
    content: bytes = b"a film"
    works: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    offers: tuple[EngineOffer, ...] = (OFFER,)

    def resident(self):
        return ()

    async def run(self, work, fetcher, ears):
        self.works.append(work)
        try:
            for number in range(1, self.steps + 1):
                if number == self.steps:
                    await self.go.wait()
                step = (f"step {number}", number, self.steps)
                ears.on_step(Step(Phase.INFERRING, number / self.steps, *step))
                await asyncio.sleep(0.01)
            if self.fault is not None:
                raise self.fault
            path = work.folder / "video.mp4"
            path.write_bytes(self.content)
            file = MadeFile("video.mp4", str(path), "video/mp4")
            return Made("told", Outcome(model="wan", files=(file,)))
        finally:
            self.ended.append(work.id)


@dataclass
class Serving:
    """One server, and stubs of all kinds on a channel to it: ours, and those of the first system."""

    engine: Told
    jobs: LocalJobs
    root: Path
    port: int
    channel: grpc.aio.Channel

    def __post_init__(self):
        self.generator = GeneratorStub(self.channel)
        self.submissions = VideoGeneratorStub(self.channel)
        self.first_generator = video_wire.generator().stub(self.channel)
        self.first_submissions = video_wire.video_generator().stub(self.channel)


@asynccontextmanager
async def running(folder: Path, credentials=None, delivery=None, **settings) -> AsyncIterator[Serving]:
    engine, root = Told(), folder / "shared"
    (root / "mine").mkdir(parents=True, exist_ok=True)
    jobs = LocalJobs(engine, Slots(1), Fetcher(), folder / "jobs", delivery)
    own = {"grpc_port": 0, "grpc_scratch_root": root, **settings}
    server, port = make_server(Settings(**own), jobs, engine.offers, lambda: 0.5)
    await server.start()
    where = f"127.0.0.1:{port}"
    channel = grpc.aio.secure_channel(where, credentials) if credentials else grpc.aio.insecure_channel(where)
    try:
        yield Serving(engine, jobs, root, port, channel)
    finally:
        await channel.close()
        await server.stop(0)
        await jobs.stop()

"""Each provider with the cloud behind it, so that one suite can turn the faults of all and read their bills."""

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from comput3.cloud import Comput3Emulator
from provider_clients.base import LaunchSpec
from provider_clients.comput3 import Comput3, Comput3Config, Patience
from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from provider_clients.fake import FakeCloud, Fault
from provider_clients.http import Limits
from provider_clients.local import LocalProvider
from provider_clients.salad import Salad, SaladConfig
from salad.emulator import SaladEmulator
from salad.knobs import Knobs
from scaling.snapshot import Capability, Offer

CAPABLE = (Capability("csm", "test"),)
SPEC = LaunchSpec("w-1", "cpu", "http://127.0.0.1:1", "a-key")
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
LIMITS = Limits(connect_s=1.0, read_s=5.0, total_s=5.0, tries=2, pause_s=0.01)
IMPATIENT = Patience(list_lag_s=0.3, look_every_s=0.1, launch_gap_s=0.0, probe_gap_s=0.05, probe_s_max=0.5)


def local(folder, command=SLEEP, workers_max=3):
    return LocalProvider(folder / "instances", 0.36, workers_max, CAPABLE, command=command)


@asynccontextmanager
async def opened(provider):
    """Whatever it leased is let go at the end."""
    try:
        yield provider
    finally:
        for instance in await provider.list():
            await gone(provider, instance.id)
        await provider.aclose()


async def gone(provider, instance_id, patience_s=30):
    """Deletes until "not found", as the orchestrator does, and returns the last receipt."""
    receipt = None
    async with asyncio.timeout(patience_s):
        while True:
            try:
                receipt = await provider.delete(instance_id) or receipt
            except NotFound:
                return receipt
            await asyncio.sleep(0.15)


@dataclass
class World:
    """A provider, what to ask it for, and its cloud. `make` builds another client with a key."""

    provider: Any
    spec: LaunchSpec
    usd_per_hour: float

    @property
    def engines(self):
        return {one.engine for one in CAPABLE}


@dataclass
class LocalWorld(World):
    pass


@dataclass
class FakeWorld(World):
    broken: bool = False

    def lose_the_reply(self):
        self.provider.faults.append(Fault.lost_reply())

    def lose_the_request(self):
        self.provider.faults.append(Fault.lost_request())

    def sell_out(self):
        self.provider.faults.append(Fault.no_capacity())

    def limit(self):
        self.provider.faults.append(Fault.rate_limited())

    def break_reads(self):
        error = OutcomeUnknown("HTTP 502")
        self.provider.faults.extend([Fault("list", error), Fault("get", error), Fault("offers", error)])

    def mend(self):
        self.provider.faults.clear()

    def stranger(self):
        error = BadCredentials("no such key")
        faults = [Fault(verb, error) for verb in ("create", "list", "check")]
        return replace(self.provider, faults=type(self.provider.faults)(faults))

    async def runs(self):
        return bool(self.provider.live())

    def count(self):
        return len(self.provider.live())

    def billed_s(self):
        return self.provider.billed_usd() / self.usd_per_hour * 3600


@dataclass
class EmulatedWorld(World):
    cloud: Any = None
    make: Any = None
    clients: list = field(default_factory=list)

    def lose_the_reply(self):
        self.cloud.knobs.next.append("create_unknown")

    def lose_the_request(self):
        self.cloud.knobs.next.append("create_lost")

    def break_reads(self):
        self.cloud.knobs.html_errors = 1.0

    def mend(self):
        self.cloud.knobs.html_errors = 0.0

    def stranger(self):
        self.clients.append(self.make("a-wrong-key"))
        return self.clients[-1]


@dataclass
class Comput3World(EmulatedWorld):
    @property
    def engines(self):
        return {"csm", "whisper", "portrait", "comfyui"}

    def sell_out(self):
        self.cloud.knobs.capacity = 0

    def limit(self):
        self.cloud.knobs.next.append("launch:rate_limited")

    async def runs(self):
        await asyncio.sleep(1.1)  # It bills whole seconds.
        return True

    def count(self):
        return len(self.cloud.live())

    def billed_s(self):
        return sum(line.ended - line.started for line in self.cloud.bill())


@dataclass
class SaladWorld(EmulatedWorld):
    def sell_out(self):
        self.cloud.knobs.next.append("capacity")

    def limit(self):
        self.cloud.knobs.next.append("rate_limited")

    async def runs(self):
        return any(one.billed for one in self.cloud.live())

    def count(self):
        return len({one.group for one in self.cloud.live()})

    def billed_s(self):
        return sum(line.ended - line.started for line in self.cloud.bill())


@asynccontextmanager
async def local_world(folder):
    async with opened(local(folder)) as provider:
        yield LocalWorld(provider, SPEC, 0.36)


@asynccontextmanager
async def fake_world(_, tagged=True):
    offer = Offer("fake", "cpu", 0.36, CAPABLE)
    cloud = FakeCloud(offered=(offer,), tagged=tagged)
    yield FakeWorld(cloud, SPEC, 0.36)


@asynccontextmanager
async def comput3_world(_):
    async with Comput3Emulator() as cloud:

        def make(key):
            config = Comput3Config(
                key, cloud.url, usd_per_hour=0.9, node_scheme="http", node_delay_s=0.0, patience=IMPATIENT
            )
            return Comput3(config, limits=LIMITS)

        spec = replace(SPEC, gpu_class="media:fast")
        async with emulated(Comput3World(make(cloud.key), spec, 0.9, cloud, make)) as world:
            yield world


@asynccontextmanager
async def salad_world(folder, mode="agent"):
    quick = Knobs(allocate_s=0.01, download_s=0.02, create_s=0.01, stop_lag_s=0.05)
    async with SaladEmulator("salad-key", argv=SLEEP, knobs=quick, folder=folder) as cloud:

        def make(key):
            return Salad(
                SaladConfig(
                    key,
                    "acme",
                    "render",
                    "registry.example.com/worker:1",
                    cloud.url,
                    gpu_classes=("RTX 4090",),
                    capabilities=CAPABLE,
                    mode=mode,
                    per_minute=6000.0,
                )
            )

        spec = replace(SPEC, gpu_class="RTX 4090")
        async with emulated(SaladWorld(make("salad-key"), spec, 0.16, cloud, make)) as world:
            yield world
        assert cloud.violations == []


@asynccontextmanager
async def emulated(world):
    try:
        yield world
    finally:
        for client in (world.provider, *world.clients):
            with suppress(ProviderError):
                await client.aclose()


WORLDS = {
    "local": local_world,
    "fake": fake_world,
    "fake-untagged": lambda folder: fake_world(folder, tagged=False),
    "comput3": comput3_world,
    "salad-agent": salad_world,
    "salad-queue": lambda folder: salad_world(folder, "queue"),
}
CLOUDS = tuple(name for name in WORLDS if name != "local")
REFUSALS = (NoCapacity, RateLimited, BadCredentials)

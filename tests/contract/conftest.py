"""The emulators are used here by their bare names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from comput3_api import Clock, client
from rough_server import rough_server
from seaweed import Seaweed

from comput3.cloud import Comput3Emulator


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def cloud(clock):
    async with Comput3Emulator(seed=1, clock=clock) as made:
        made.knobs.retry_after_s = 7
        yield made


@pytest.fixture
async def comput3(cloud, clock):
    made = client(cloud.url, cloud.key, clock)
    yield made
    await made.aclose()


@pytest.fixture
async def rough(clock):
    """The client on a server that answers whatever it is told to."""
    async with rough_server() as server:
        made = client(server.url, "c3_api_test", clock)
        yield server, made
        await made.aclose()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    """One S3 server for all tests of this process; each has a folder of its own there."""
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server

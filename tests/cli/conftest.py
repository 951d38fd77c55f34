"""A stand-in for the server, and the providers' emulators by their bare names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from stand_in import StandIn, serving

from gpulease.client import Client


@pytest.fixture(scope="session")
def server():
    with serving(StandIn()) as state:
        yield state


@pytest.fixture
def state(server):
    server.reset()
    return server


@pytest.fixture
def client(state):
    with Client(state.url, "secret") as client:
        yield client

import pytest
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

"""For all tests: Ctrl-C works, also where a shell started us in the background and had it ignored; logs go where they
go by default, also after a test whose program sent them to a stream that is closed by now; and what a slow test left
open is found at its own end, not in the middle of another test.
"""

import gc
import signal
from collections.abc import Iterator

import pytest
import structlog

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # What was imported stays, so that looking for what was left need not look at it.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Comes first, and so looks when everything else of the test has ended, its event loop too."""
    yield
    if request.node.get_closest_marker("slow"):
        gc.collect()

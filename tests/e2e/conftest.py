"""A server that ends with its test, and whatever it started too."""

import contextlib

import psutil
import pytest
from up import Up


@pytest.fixture
def up(tmp_path):
    server = Up(tmp_path)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()
    for left in server.leftovers():
        with contextlib.suppress(psutil.Error):
            left.kill()
    server.http.close()
    server.log.close()

"""For all tests: Ctrl-C works, also where a shell started us in the background and had it ignored; and logs go where
they go by default, also after a test whose program sent them to a stream that is closed by now.
"""

import signal

import structlog

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    structlog.reset_defaults()

"""For all tests: Ctrl-C works, also where a shell started us in the background and had it ignored."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)

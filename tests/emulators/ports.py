"""Ports for programs that are told theirs."""

import contextlib
import random
import socket


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to whoever asks for any, so that nobody takes one before it is used."""
    found: list[int] = []
    for port in random.sample(range(12_000, 32_000), 500):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found

"""JSON lines with the worker, on descriptors that no library prints to: what is printed goes to the log."""

import json
import os
import queue
import threading
from typing import Any


class TakenBack(Exception):
    """The job is wanted no more."""


class Channel:
    """Orders are read on a thread. Their end means that the worker is gone, and ends this process at once."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._taken_back: set[int] = set()
        self.number = 0
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next job; from now on `check` and `progress` speak of it."""
        order = self._orders.get()
        self.number = order["number"]
        return order

    def send(self, kind: str, **body: Any) -> None:
        self._out.write(json.dumps({"is": kind, "number": self.number, **body}).encode() + b"\n")

    def check(self) -> None:
        if self.number in self._taken_back:
            raise TakenBack

    def progress(self, share: float, message: str, step: int, total_steps: int) -> None:
        self.check()
        self.send("progress", share=share, message=message, step=step, total_steps=total_steps)

    def _read(self) -> None:
        for line in self._in:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._taken_back.add(order["number"])
            else:
                self._orders.put(order)
        os._exit(0)

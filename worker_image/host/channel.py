"""The engine process's side of its pipes: JSON lines on descriptors that no library can print to.

File descriptor 1 becomes the log (descriptor 2) and 0 becomes empty, so that neither a chatty library nor a program
started by a backend can corrupt or read the protocol.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from gpulease.contract.jobs import Phase
from worker_image.faults import Cancelled


class Channel:
    """Reads on its own thread. The end of the input means that the parent is gone: the whole group goes too."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._told: dict[str, Any] = {}
        self._job_id = ""
        self.gpu_util: Callable[[], float | None] = lambda: None
        threading.Thread(target=self._read, name="channel", daemon=True).start()

    def next(self) -> dict[str, Any]:
        return self._asked.get()

    def send(self, kind: str, **body: Any) -> None:
        self._out.write(json.dumps({"is": kind, **body}).encode() + b"\n")

    def begin(self, job_id: str) -> None:
        self._job_id, self._told = job_id, {}

    def end_log(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    def report(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        if self._job_id in self._cancelled:
            raise Cancelled
        progress = {
            "phase": phase,
            "share": share,
            "message": message,
            "step": step,
            "total_steps": total_steps,
        }
        if progress != self._told:
            self._told = progress
            self.send("progress", **progress, gpu_util=self.gpu_util())

    def _read(self) -> None:
        for line in self._in:
            asked = json.loads(line)
            if asked["do"] == "cancel":
                self._cancelled.add(asked["job_id"])
                continue
            if asked["do"] == "run":  # The same job may come again, as another attempt.
                self._cancelled.discard(asked["job"]["id"])
            self._asked.put(asked)
        os.killpg(0, signal.SIGKILL)

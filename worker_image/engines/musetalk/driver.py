"""The process that keeps MuseTalk's models: started in its checkout, under its Python, spoken to in JSON lines."""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

from worker_image.engines.base import EngineConfig
from worker_image.engines.musetalk.checkout import environment, python_of, root_of
from worker_image.faults import Cancelled, Faulted, HostFault

LOAD_S_MAX = 900.0
CANCEL_S_MAX = 1.0
END_S_MAX = 1.0
TICK_S = 0.25
# The checkout stays first, and of ours it sees this folder, last.
_BOOT = "import sys, runpy; sys.path.append(sys.argv[1]); runpy.run_module('inside', run_name='__main__')"

Said = dict[str, Any]


class Driver:
    """One such process. When it has ended, for whatever reason, another one is to be started."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._said: queue.SimpleQueue[Said | None] = queue.SimpleQueue()
        self._number = 0
        threading.Thread(target=self._read, name="musetalk", daemon=True).start()

    @classmethod
    def start(cls, config: EngineConfig) -> Self:
        """Returns when the models are loaded.

        Raises:
            HostFault: they cannot be, or took longer than `LOAD_S_MAX`.
            Failed: MuseTalk's own words why.
        """
        wanted = {"unet_model": config.musetalk_unet_model, "unet_config": config.musetalk_unet_config}
        argv = [python_of(config), "-c", _BOOT, str(Path(__file__).parent), json.dumps(wanted)]
        try:
            process = subprocess.Popen(  # noqa: S603  The vector is ours.
                argv,
                cwd=root_of(config),
                env={**os.environ, **environment(config)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise HostFault("program_missing", f"the Python of MuseTalk does not start: {error}") from error
        driver = cls(process)
        try:
            driver._hear("ready", time.monotonic() + LOAD_S_MAX)
        except BaseException:
            driver.end()
            raise
        return driver

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, job: Said, on_progress: Callable[[Said | None], None]) -> Said:
        """Has the job done, and returns the last thing said of it.

        `on_progress` gets what is said before, and None in silence; when it raises `Cancelled`, the job is taken
        back, or the process ended if it does not let go of it.

        Raises:
            HostFault: the process ended.
        """
        self._number += 1
        self._tell({"do": "run", "number": self._number, **job})
        try:
            while True:
                said = self._next(TICK_S)
                if said is not None and said["is"] != "progress":
                    return said
                on_progress(said)
        except Cancelled:
            self._take_back()
            raise

    def end(self) -> None:
        """Ends it, and whatever it started. Safe to repeat."""
        kin: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            kin = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.kill()
        for one in kin:
            with contextlib.suppress(psutil.Error):
                one.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S_MAX)

    def _take_back(self) -> None:
        self._tell({"do": "cancel", "number": self._number})
        with contextlib.suppress(Faulted):
            self._hear("cancelled", time.monotonic() + CANCEL_S_MAX, or_any_end=True)
            return
        self.end()

    def _hear(self, kind: str, until: float, *, or_any_end: bool = False) -> Said:
        """Waits for that kind of message, or for the last of a job."""
        while (left_s := until - time.monotonic()) > 0:
            said = self._next(min(left_s, TICK_S))
            if said is None or said["is"] == "progress":
                continue
            if said["is"] == kind or or_any_end:
                return said
            raise Failed(str(said.get("words", said["is"])))
        raise HostFault("musetalk_silent", f"MuseTalk's process was not {kind} in time")

    def _next(self, timeout_s: float) -> Said | None:
        try:
            said = self._said.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if said is None:
            code = self._process.wait()
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise HostFault("musetalk_killed", f"MuseTalk's process ended by itself: {how}")
        return said

    def _tell(self, order: Said) -> None:
        assert self._process.stdin is not None  # noqa: S101  We asked for a pipe.
        with contextlib.suppress(OSError):  # Its end is heard where its replies are.
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  As above.
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                self._said.put(json.loads(line))
        self._said.put(None)


class Failed(HostFault):
    """MuseTalk's own words why it failed."""

    def __init__(self, words: str) -> None:
        super().__init__("musetalk_failed", f"MuseTalk failed: {words}")
        self.words = words

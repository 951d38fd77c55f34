"""The server that the demo starts, as a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from gpulease.client import Client, ClientError

START_S_MAX = 60.0
STOP_S_MAX = 45.0
LOG_LINES = 15


class DemoFailed(Exception):
    """A stage did not do what it should; the text says what."""


class DemoServer:
    """`gpulease up` on a free port, with none of the caller's settings. Leaving it stops it."""

    def __init__(self, data: Path, settings: dict[str, str]) -> None:
        # Its own log tells it: a port chosen beforehand may be another's by the time it starts.
        self.url = ""
        self._log = data / "server.log"
        self._command = [sys.executable, "-m", "gpulease", "up"]
        self._command += ["--host", "127.0.0.1", "--port", "0", "--data", str(data)]
        self._environment = _clean(os.environ) | settings
        self._data = data

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            # In a session of its own, so that Ctrl-C reaches the demo only, which then stops it in order.
            self._process = subprocess.Popen(  # noqa: S603  Our own program, by an argument vector.
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._data,
                start_new_session=True,
            )
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Asks it to end, as Ctrl-C does, and waits. Harmless when it has ended.

        Raises:
            DemoFailed: it had to be killed.
        """
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise DemoFailed(f"the server did not stop within {STOP_S_MAX:.0f} s:\n{self.tail()}") from None

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _await_answer(self) -> None:
        until = time.monotonic() + START_S_MAX
        while not self._answers():
            if self._process.poll() is not None:
                raise DemoFailed(f"the server ended at once:\n{self.tail()}")
            if time.monotonic() > until:
                raise DemoFailed(f"the server does not answer:\n{self.tail()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        self.url = self.url or _told(self._log)
        if not self.url:
            return False
        with Client(self.url) as client, contextlib.suppress(ClientError):
            client.check()
            return True
        return False


def _told(log: Path) -> str:
    """Where the server listens, once it has said so."""
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "listening":
                return str(entry["url"])
    return ""


def _clean(environment: "os._Environ[str]") -> dict[str, str]:
    """The caller's environment without settings of ours: the demo shows the same everywhere, and leases nowhere."""
    ours = ("GPULEASE_", "GPU_IDLE_TIMEOUT", "PRE_LAUNCH_TIMEOUT", "MAX_RENDER_TIME", "REGISTER_")
    keys = ("C3_", "COMPUT3_", "SALAD_", "INTERNAL_API_KEY", "DEFAULT_GPU_", "AWS_", "B2_", "MINIO_")
    engines = ("COMFYUI_", "MUSETALK_", "OLLAMA_")
    return {name: value for name, value in environment.items() if not name.startswith(ours + keys + engines)}

"""`gpulease worker` as the owner of a machine runs it: in a folder of its own, with an URL and a key."""

import os
import signal
import subprocess
import sys
from pathlib import Path


class Owner:
    """`options` go to the command line as they are, `settings` to the environment."""

    def __init__(self, folder: Path, name: str, url: str, key: str, *options: str, **settings: str) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        self._command = [sys.executable, "-m", "gpulease", "worker", "--orchestrator", url]
        self._command += ["--worker-id", name, "--port", "-1", "--scratch", str(self._folder / "scratch")]
        self._command += options
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GPULEASE_")}
        self._environment = clean | {"INTERNAL_API_KEY": key} | settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number: int = signal.SIGINT) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGINT) -> int:
        """SIGKILL is a power cut. Returns the exit status."""
        self.send(number)
        assert self._process is not None
        return self._process.wait(30)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

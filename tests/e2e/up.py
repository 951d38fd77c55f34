"""`gpulease up` as a process of its own, with a program that needs no model."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from ports import free_ports

SETTINGS = (
    "GPULEASE_",
    "C3_",
    "COMPUT3_",
    "SALAD_",
    "INTERNAL_API_KEY",
    "DEFAULT_GPU_",
    "GPU_IDLE",
    "PRE_LAUNCH",
)
"""How names begin that would configure the server: with the caller's keys a test could lease for real."""
SLEEPY = """
import sys, time, pathlib
seconds, out = float(sys.argv[1]), pathlib.Path(sys.argv[2])
for step in range(10):
    print(f"openjd_progress: {step * 10}", flush=True)
    time.sleep(seconds / 10)
(out / "out.txt").write_text("slept")
"""


def write_commands(folder: Path) -> Path:
    """The configuration of the engine `command` with the one program, which sleeps."""
    program = folder / "sleepy.py"
    program.write_text(SLEEPY)
    commands = folder / "commands.json"
    arguments = [str(program), "$RENDERONLINE:seconds", "$RENDERONLINE:@output_dir"]
    sleepy = {"executable": sys.executable, "arguments": arguments, "types": {"seconds": "real"}}
    commands.write_text(json.dumps({"sleepy": sleepy}))
    return commands


class Up:
    """A server that a test may start, kill and start again on the same data and port."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data = folder / "data"
        commands = write_commands(folder)
        (self.port,) = free_ports(1)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.log = (folder / "up.log").open("ab")
        fast = {
            "GPULEASE_COMMANDS": str(commands),
            "GPULEASE_HEARTBEAT_S": "0.5",
            "GPULEASE_HEALTH_PERIOD_S": "1",
            "GPULEASE_RECONCILE_PERIOD_S": "0.5",
            "GPULEASE_POLICY_IDLE_S": "2",
            "GPULEASE_ORPHAN_AFTER_S": "20",
            "GPULEASE_LOCAL_USD_PER_HOUR": "0.36",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        self.environment = {**inherited, **fast, **settings}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "gpulease", "up", "--port", str(self.port), "--data", str(self.data)]
        # In a session of its own, so that Ctrl-C reaches whoever started it, and that one ends it in order.
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.data.parent,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.until(self._ready, 60)

    def _ready(self) -> bool:
        assert self.process.poll() is None, "the server ended; see up.log"
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/readyz").status_code == 200
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, sig: int = signal.SIGINT) -> int:
        self.process.send_signal(sig)
        return self.process.wait(40)

    def until(self, ready, patience_s: float = 30.0):
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if found := ready():
                return found
            time.sleep(0.05)
        raise AssertionError(f"it did not come true within {patience_s} s")

    def sleep_job(self, seconds: float, **body) -> str:
        asked = {
            "engine": "command",
            "input": {"program": "sleepy", "arguments": {"seconds": seconds}},
            **body,
        }
        reply = self.http.post("/v1/jobs", json=asked)
        assert reply.status_code == 202, reply.text
        return reply.json()["id"]

    def job(self, job_id: str) -> dict:
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def until_status(self, job_id: str, status: str, patience_s: float = 30.0) -> dict:
        return self.until(lambda: (job := self.job(job_id))["status"] == status and job, patience_s)

    def workers(self) -> list[dict]:
        return self.http.get("/v1/workers").json()["items"]

    def leftovers(self) -> list[psutil.Process]:
        """Processes that have the data directory in their command line, environment or open files."""
        return [
            one for one in psutil.process_iter() if one.pid != os.getpid() and _holds(one, str(self.data))
        ]

    def worker_pids(self) -> list[int]:
        return [one.pid for one in self.leftovers() if one.pid != self.process.pid]


def _holds(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error):
        if any(folder in part for part in process.cmdline()):
            return True
        if any(folder in value for value in process.environ().values()):
            return True
        return any(folder in file.path for file in process.open_files())
    return False

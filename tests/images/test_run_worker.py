"""The container's start script, with the real worker and a stand-in for Salad's queue worker, as real processes."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from ports import free_ports

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "run_worker.sh"
# Like Salad's own: it waits until the app is ready, hands it a job, and tells what came of it.
QUEUE_WORKER = """#!{python}
import json, os, pathlib, signal, sys, time, urllib.error, urllib.request

here = pathlib.Path({here!r})
(here / "queue.pid").write_text(str(os.getpid()))
base = "http://127.0.0.1:" + os.environ["GPULEASE_WORKER_PORT"]
while True:
    try:
        urllib.request.urlopen(base + "/hc", timeout=1)
        break
    except OSError:
        time.sleep(0.05)
body = {{"engine": "command", "job_id": "one", "input": {{"program": "write"}}}}
headers = {{"Content-Type": "application/json", "Salad-Job-Id": "s-1"}}
asked = urllib.request.Request(base + "/generate", json.dumps(body).encode(), headers)
with urllib.request.urlopen(asked, timeout=20) as reply:
    (here / "answer.part").write_bytes(reply.read())
(here / "answer.part").rename(here / "answer.json")
time.sleep({then_s})
sys.exit(7)
"""
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1], 'made.txt').write_text('made')"


class Box:
    """A folder that stands for the container: its programs, its environment, and what was started in it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        programs = folder / "programs.json"
        write = {"executable": sys.executable, "arguments": ["-c", WRITE, "$RENDERONLINE:@output_dir"]}
        programs.write_text(json.dumps({"write": write}))
        self.environment = {
            "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "GPULEASE_SCRATCH": str(folder / "scratch"),
            "GPULEASE_WORKER_PORT": str(port),
            "GPULEASE_WORKER_GRACE_S": "0.2",
            "GPULEASE_COMMANDS": str(programs),
        }

    def on_salad(self, *, then_s: float | None) -> None:
        """`then_s` is how long the queue worker stays after its job; None leaves it out of the image."""
        self.environment["SALAD_MACHINE_ID"] = "machine-1"
        if then_s is None:
            return
        program = self.folder / "bin" / "salad-http-job-queue-worker"
        program.parent.mkdir()
        text = QUEUE_WORKER.format(python=sys.executable, here=str(self.folder), then_s=then_s)
        program.write_text(text)
        program.chmod(0o755)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(SCRIPT)], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/hc", timeout=1) as reply:
                return json.load(reply) == {"status": "ok"}
        except OSError:
            return False

    def left(self) -> list[int]:
        assert self.process is not None
        return [one.pid for one in psutil.process_iter() if _session(one.pid) == self.process.pid]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def until(check, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    (port,) = free_ports(1)
    box = Box(tmp_path, port)
    yield box
    if box.process is not None and box.process.poll() is None:
        os.killpg(box.process.pid, signal.SIGKILL)
        box.process.wait(5)


def test_alone_it_is_the_worker_itself(box: Box):
    process = box.start()
    until(box.healthy)
    assert "worker" in psutil.Process(process.pid).cmdline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert box.left() == []


def test_in_a_salad_container_the_queue_brings_jobs_and_its_end_ends_all(box: Box):
    box.on_salad(then_s=0.2)
    process = box.start()
    assert process.wait(30) == 7, box.log
    answer = json.loads((box.folder / "answer.json").read_text())
    assert (answer["status"], answer["data"]["files"]) == ("ok", ["made.txt"])
    assert box.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_both(box: Box, number: signal.Signals):
    box.on_salad(then_s=60)
    process = box.start()
    until((box.folder / "answer.json").exists)
    process.send_signal(number)
    assert process.wait(10) in (0, 143)
    assert box.left() == []


def test_a_killed_worker_ends_the_queue_worker_too(box: Box):
    box.on_salad(then_s=60)
    process = box.start()
    until((box.folder / "answer.json").exists)
    (worker,) = (one for one in psutil.Process(process.pid).children() if "worker" in one.cmdline()[-1:])
    queue = int((box.folder / "queue.pid").read_text())
    worker.kill()
    assert process.wait(10) == 128 + signal.SIGKILL
    assert not psutil.pid_exists(queue) or psutil.Process(queue).status() == psutil.STATUS_ZOMBIE
    until(lambda: box.left() == [])


def test_a_salad_container_without_anybody_to_send_jobs_says_so(box: Box):
    box.on_salad(then_s=None)
    assert box.start().wait(10) == 2
    assert "SALAD_QUEUE_WORKER_URL" in box.log

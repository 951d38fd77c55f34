"""A server with real workers, a hostile web for their inputs, and canaries around them that must stay as they are."""

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from hostile_web import HostileWeb, hostile_web
from up import SETTINGS, Up

WRITTEN = ("data", "scratch", "resolver")
"""Where the server and its workers write, and where Python keeps what it compiled."""
ENDED = {"succeeded", "failed", "cancelled", "timed_out", "expired"}
# It tells what reached it: its arguments, and the name and size of its file.
TELL = """
import json, os, pathlib, sys
out, source, *words = sys.argv[1:]
told = {"words": words, "file": os.path.basename(source), "bytes": os.path.getsize(source)}
pathlib.Path(out, "told.json").write_text(json.dumps(told))
"""
# Names that headers, shells, archives or terminals could read in a way of their own, links out, and a pipe.
NAMES = r"""
import os, sys
out, canary = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
for name in (b'q"u\'o;te', b"new\nline", b"-rf", b"..\\..\\climb", b"C:drive", b"\xff\xfe", b"\r\nX-Evil: 1"):
    with open(os.path.join(out, name), "w") as file: file.write("made")
os.symlink(canary, os.path.join(out, b"link"))
os.symlink(os.path.dirname(canary), os.path.join(out, b"folder"))
os.mkfifo(os.path.join(out, b"pipe"))
"""
SWAP = """
import os, sys
os.rmdir(sys.argv[1])
os.symlink(os.path.dirname(sys.argv[2]), sys.argv[1])
"""
# What Python's resolver says of the names of nobody: stands in for a DNS server that changes its mind.
RESOLVER = """
import socket
ask, asked = socket.getaddrinfo, set()
def getaddrinfo(host, port, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    if name == "turns.hostile.test":
        name, _ = ("127.0.0.1" if name in asked else "192.88.99.1"), asked.add(name)
        return ask(name, port, *rest, **more)
    if name == "both.hostile.test":
        return [*ask("192.88.99.1", port, *rest, **more), *ask("127.0.0.1", port, *rest, **more)]
    return ask(host, port, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


class Trap:
    """A port that no hostile input may make anybody call."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def called(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


@dataclass(frozen=True)
class Surroundings:
    """Everything below `folder` but what the server may write: its data, and the logs."""

    folder: Path
    trap: Trap = field(default_factory=Trap)

    def __post_init__(self) -> None:
        for name in ("canary/deep/.hidden", "canary/secret.txt", "home/.netrc", "tmp/others"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"canary {name}")
        (self.folder / "canary" / "link").symlink_to("secret.txt")
        (self.folder / "canary" / "empty").mkdir()
        (self.folder / "resolver").mkdir()
        (self.folder / "resolver" / "sitecustomize.py").write_text(RESOLVER)
        (self.folder / "programs.json").write_text(json.dumps(self._programs()))

    def _programs(self) -> dict[str, Any]:
        out, secret = "$RENDERONLINE:@output_dir", str(self.secret)
        tell = ["-c", TELL, out, "@uploaded_file", "--words=$RENDERONLINE:words", "$RENDERONLINE:name"]
        return {
            "tell": _program(tell, {"words": "sentence", "name": "file"}),
            "names": _program(["-c", NAMES, out, secret]),
            "swap": _program(["-c", SWAP, out, secret]),
        }

    @property
    def secret(self) -> Path:
        return self.folder / "canary" / "secret.txt"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(self.folder / "resolver"),
            "GPULEASE_COMMANDS": str(self.folder / "programs.json"),
            "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }

    def listing(self) -> dict[str, str]:
        """Path to what is there: the digest of a file with its times, or what else it is."""
        found = {}
        for root, folders, names in os.walk(self.folder):
            if Path(root) == self.folder:
                folders[:] = [name for name in folders if name not in WRITTEN]
            there = (Path(root, name) for name in (*folders, *names) if not name.endswith(".log"))
            found |= {str(path): _described(path) for path in there}
        return found

    def changed(self, before: dict[str, str]) -> dict[str, str | None]:
        """What is new or different, and None for what is gone."""
        now = self.listing()
        return {path: now.get(path) for path in before | now if now.get(path) != before.get(path)}


def _program(arguments: list[str], types: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"executable": sys.executable, "arguments": arguments, "types": types or {}}


def _described(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_dir():
        return "folder"
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"


@dataclass
class World:
    """`before` is how the surroundings were when the server was up."""

    up: Up
    web: HostileWeb
    around: Surroundings
    before: dict[str, str]

    def submit(self, engine: str, asked: dict[str, Any], **more: Any) -> httpx.Response:
        return self.up.http.post("/v1/jobs", json={"engine": engine, "input": asked, **more})

    def accepted(self, engine: str, asked: dict[str, Any], **more: Any) -> str:
        reply = self.submit(engine, asked, **more)
        assert reply.status_code == 202, (asked, reply.text)
        return reply.json()["id"]

    def ended(self, job_id: str, patience_s: float = 60.0) -> dict[str, Any]:
        return self.up.until(lambda: (job := self.up.job(job_id))["status"] in ENDED and job, patience_s)

    def upload(self, content: bytes, name: str = "file") -> str:
        reply = self.up.http.post("/v1/uploads", params={"name": name}, content=content)
        assert reply.status_code == 201, reply.text
        return reply.json()["url"]

    def tell(self, **arguments: str) -> dict[str, Any]:
        """The input of a job that succeeds where nobody touches it on its way."""
        words = {"words": "fine", "name": "a.txt", **arguments}
        return {"program": "tell", "file_url": self.upload(b"four"), "arguments": words}

    def check(self) -> None:
        """Nobody touched anything around, nobody called the trap."""
        changed = self.around.changed(self.before)
        assert not changed, changed
        assert not self.around.trap.called(), "something called the port that was off limits"

    def strays(self) -> list[list[str]]:
        """Command lines of what the workers left running beside their engines."""
        found = []
        for one in self.up.leftovers():
            with contextlib.suppress(psutil.Error):
                line = one.cmdline()
                if line and not any(
                    part in ("worker_image", "worker_image.host.child", "gpulease") for part in line
                ):
                    found.append(line)
        return found


@contextmanager
def hostile_world(folder: Path) -> Iterator[World]:
    """After all that a module did to it: it serves, stops in order, leaves no process, and touched nothing."""
    around = Surroundings(folder)
    settings = {**around.environment, "GPULEASE_POLICY_IDLE_S": "60", "GPULEASE_LOCAL_WORKERS_MAX": "2"}
    with hostile_web() as web, _running(Up(folder, **settings)) as up:
        world = World(up, web, around, around.listing())
        yield world
        done = world.ended(world.accepted("command", world.tell()))
        assert done["status"] == "succeeded", done["fault"]
        assert world.strays() == []
        assert up.stop() == 0
        assert up.leftovers() == []
        world.check()
    around.trap.close()


@contextmanager
def _running(up: Up) -> Iterator[Up]:
    try:
        up.start()
        yield up
    finally:
        if up.process is not None and up.process.poll() is None:
            up.kill()
        for left in up.leftovers():
            with contextlib.suppress(psutil.Error):
                left.kill()
        up.http.close()
        up.log.close()


@contextmanager
def hostile_worker(folder: Path) -> Iterator[tuple[httpx.Client, Surroundings, HostileWeb]]:
    """A worker alone, with its own HTTP. It ends in order and leaves no process, and nothing around is touched."""
    around = Surroundings(folder)
    log = folder / "worker.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    own = {
        "GPULEASE_WORKER_PORT": "0",
        "GPULEASE_SCRATCH": str(folder / "scratch"),
        "GPULEASE_WORKER_GRACE_S": "0",
    }
    with hostile_web() as web, log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker_image"],
            env=inherited | around.environment | own,
            cwd=folder,
            stdout=sink,
            stderr=sink,
        )
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{_port(process, log)}", timeout=60, trust_env=False
            ) as http:
                before = around.listing()
                yield http, around, web
            kin = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            assert process.wait(30) == 0
            assert psutil.wait_procs(kin, timeout=5)[1] == []
            assert not (changed := around.changed(before)), changed
            assert list((folder / "scratch").iterdir()) == []
            assert not around.trap.called()
        finally:
            process.kill()
            process.wait()
            around.trap.close()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + 60
    while not (found := re.search(r"listening .*port=(\d+)", text := log.read_text())):
        assert process.poll() is None, text
        assert time.monotonic() < end, text
        time.sleep(0.05)
    return int(found[1])

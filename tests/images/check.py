"""Builds both images for real and starts them: `make image-check`. Wants root, buildah, debootstrap and crun.

The base is a Debian made here, since no registry needs to be in reach; pip inside uses what pip here is set to use.
It needs about 15 GB below --folder, which is removed at the end, and some ten minutes.
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("buildah", "debootstrap", "crun")
BASE = "localhost/gpulease-base"
BUILD_S_MAX = 1800
MIRROR = "http://deb.debian.org/debian"


class Wrong(Exception):
    """What was built is not as it should be."""


@dataclass(frozen=True, slots=True)
class Shop:
    """Where images are built; nothing of the machine's own image store is touched."""

    folder: Path

    def buildah(self, *words: str, capture: bool = False) -> str:
        stores = ("--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"))
        argv = ["buildah", *stores, "--storage-driver", "vfs", *words]
        out = subprocess.PIPE if capture else None
        done = subprocess.run(argv, check=True, stdout=out, text=True, timeout=BUILD_S_MAX, cwd=ROOT)
        return (done.stdout or "").strip()

    def make_base(self) -> None:
        root = self.folder / "base"
        say("a Debian to build on")
        argv = ["debootstrap", "--variant=minbase", "bookworm", str(root), MIRROR]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=BUILD_S_MAX)
        box = self.buildah("from", "scratch", capture=True)
        self.buildah("add", "-q", box, str(root), "/")
        self.buildah("commit", "-q", "--rm", box, BASE, capture=True)
        shutil.rmtree(root)

    def build(self, name: str, file: str, *, target: str = "", **arguments: str) -> None:
        say(f"{file} as {name}")
        given = [f"--build-arg={key}={value}" for key, value in {"BASE": BASE, **arguments}.items()]
        chroot = ("--isolation", "chroot", "--network", "host", "--format", "docker", "--layers=false", "-q")
        only = ["--target", target] if target else []
        self.buildah(
            "bud", *chroot, *self._mounts(), *given, *only, "-t", name, "-f", file, ".", capture=True
        )

    def _mounts(self) -> list[str]:
        """Pip's settings of this machine, and the folders that they name."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        pairs = (line.split("=", 1) for line in listed.stdout.splitlines() if line.startswith("global."))
        words = {key.removeprefix("global."): value.strip("'\"").replace("\\n", " ") for key, value in pairs}
        mounts = [f"-v={path}:{path}:ro" for path in _folders_in(words.values())]
        if certificates := words.get("cert"):
            words["cert"] = "/opt/pip-certificates.pem"
            mounts.append(f"-v={Path(certificates).resolve()}:{words['cert']}:ro")
        config = self.folder / "pip.conf"
        config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in words.items()))
        return [f"-v={config}:/etc/pip.conf:ro", *mounts]

    @contextlib.contextmanager
    def box(self, image: str) -> Iterator[list[str]]:
        """The words that run a command in a container of that image, as the image's user."""
        name = self.buildah("from", image, capture=True)
        stores = ("--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"))
        try:
            yield ["buildah", *stores, "--storage-driver", "vfs", "run", "--isolation", "chroot", name, "--"]
        finally:
            self.buildah("rm", name, capture=True)


def _folders_in(values: Iterable[str]) -> set[Path]:
    """Folders that pip reads; the files of an index lie beside its pages."""
    words = {word for value in values for word in value.split()}
    indexes = {Path(word.removeprefix("file://")).parent for word in words if word.startswith("file://")}
    return {one for one in indexes | {Path(word) for word in words} if one.is_absolute() and one.is_dir()}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def told(run: list[str], *words: str) -> str:
    done = subprocess.run([*run, *words], check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return done.stdout.strip()


def check(what: str, *, ok: bool) -> None:
    if not ok:
        raise Wrong(what)
    say(f"  {what}")


def answers(url: str, within_s: float = 60.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
        time.sleep(0.2)
    return False


def ends_on_term(process: "subprocess.Popen[bytes]", name: str) -> bool:
    """Signals go to the program itself: chroot isolation has no init of its own."""
    subprocess.run(["pkill", "-TERM", "-f", name], check=False, timeout=10)
    return process.wait(30) == 0


def check_orchestrator(shop: Shop) -> None:
    with shop.box("gpulease") as run:
        check("the orchestrator's image is not root", ok=told(run, "id", "-u") == "10001")
        key = ["env", "GPULEASE_ADMIN_KEY=image-check-0123456789", "GPULEASE_PORT=18080"]
        with subprocess.Popen([*run, *key, "tini", "-s", "--", "gpulease", "up"]) as server:
            check("`gpulease up` answers /livez", ok=answers("http://127.0.0.1:18080/livez"))
            check("it ends on SIGTERM with 0", ok=ends_on_term(server, "/opt/venv/bin/gpulease up"))


def check_worker(shop: Shop) -> None:
    with shop.box("gpulease-worker") as run:
        check("the worker's image is not root", ok=told(run, "id", "-u") == "10001")
        check("ffmpeg runs", ok=told(run, "ffmpeg", "-version").startswith("ffmpeg"))
        found = json.loads(
            told(run, "env", "GPULEASE_DEVICE=cpu", "sh", "-c", "gpulease doctor --json || true")
        )
        here = {one["name"] for one in found if one["ok"]}
        check(
            f"engines that load in it: {sorted(here & {'csm', 'whisper', 'analyze'})}",
            ok={"csm", "whisper"} <= here,
        )
        with subprocess.Popen(
            [
                *run,
                "env",
                "GPULEASE_DEVICE=cpu",
                "GPULEASE_WORKER_PORT=18000",
                "tini",
                "-s",
                "--",
                "/opt/gpulease/run_worker.sh",
            ]
        ) as worker:
            check("run_worker.sh answers /hc", ok=answers("http://127.0.0.1:18000/hc"))
            check("it ends on SIGTERM with 0", ok=ends_on_term(worker, "/opt/venv/bin/gpulease worker"))


def check_queue_worker(shop: Shop) -> None:
    """Salad's program, here a stand-in from a server of ours: built in by its checksum, and by no other."""
    name, archive = "salad-http-job-queue-worker", shop.folder / "queue.tar.gz"
    (shop.folder / name).write_text("#!/bin/sh\n")
    subprocess.run(["tar", "-czf", str(archive), "-C", str(shop.folder), name], check=True, timeout=10)
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    with serving(shop.folder) as url:
        given = {"PACKAGES": "", "SALAD_QUEUE_WORKER_URL": f"{url}/{archive.name}"}
        shop.build("queue", "Dockerfile.worker", target="queue", SALAD_QUEUE_WORKER_SHA256=right, **given)
        with shop.box("queue") as run:
            check("the queue worker is built in", ok=told(run, "ls", "/opt/salad") == name)
        try:
            shop.build(
                "wrong", "Dockerfile.worker", target="queue", SALAD_QUEUE_WORKER_SHA256="0" * 64, **given
            )
        except subprocess.CalledProcessError:
            check("one with another checksum ends the build", ok=True)
        else:
            check("one with another checksum ends the build", ok=False)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to build (a new folder below it)")
    given = parser.parse_args()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(
            f"needs root and {', '.join(PROGRAMS)}; missing: {', '.join(missing) or 'root'}", file=sys.stderr
        )
        print("on Debian: apt-get install --no-install-recommends buildah debootstrap crun", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="image-check-") as name:
        shop = Shop(Path(name))
        try:
            shop.make_base()
            check_queue_worker(shop)
            shop.build("gpulease", "Dockerfile")
            check_orchestrator(shop)
            shop.build("gpulease-worker", "Dockerfile.worker", PACKAGES="")
            check_worker(shop)
        except (Wrong, subprocess.SubprocessError) as error:
            print(f"WRONG: {error}", file=sys.stderr)
            return 1
    say("both images are well")
    return 0


if __name__ == "__main__":
    sys.exit(main())

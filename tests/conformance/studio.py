"""Machines that make short real films and speak the video system's own gRPC, and a server that knows them."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Self

from server import Server

from video_worker import VideoWorker

ONE_LONG = "long-high=1"
ENROLMENT = "a-key-that-enrols-workers"


class Studio:
    """Two video workers on a loop and a thread of their own. `hold()` keeps their films from being done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: list[VideoWorker] = []

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="studio", daemon=True)
        self._thread.start()
        for number in (1, 2):
            share = self._folder / f"share-{number}"
            share.mkdir(parents=True)
            worker = VideoWorker(share)
            self._do(worker.start())
            self.workers.append(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            self._do(worker.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def hold(self, *, on: bool) -> None:
        for worker in self.workers:
            worker.knobs.hold = on

    def machines(self) -> Path:
        """The file that lists them."""
        path = self._folder / "machines.json"
        path.write_text(json.dumps([_entry(worker) for worker in self.workers]))
        return path


def _entry(worker: VideoWorker) -> dict:
    return {
        "name": worker.folder.name,
        "url": f"grpc://{worker.url}",
        "engines": {"video": "mochi-1-preview"},
        "shared_here": str(worker.folder),
        "shared_there": str(worker.folder),
    }


def server_with(studio: Studio, folder: Path) -> Server:
    server = Server(folder)
    server.up.environment |= {
        "GPULEASE_STATIC_MACHINES": str(studio.machines()),
        "GPULEASE_QUEUE_LIMITS": ONE_LONG,
        "INTERNAL_API_KEY": ENROLMENT,
    }
    return server

"""The process of a host, `python -m worker_image --host NAME`: a child of the orchestrator, which holds its stdin.

When stdin ends, the orchestrator is gone, and within two seconds so is everything here. A first SIGTERM or SIGINT
drains.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from worker_image.hosted.duties import Asker, News
from worker_image.hosted.host import Host
from worker_image.hosted.life import Home
from worker_image.hosted.nodes import nodes_of
from worker_image.hosted.settings import HostName, HostSettings
from worker_image.scratch import close_scratch, open_scratch
from worker_image.serving.beats import BeatThread

END_S_MAX = 2.0
_CANNOT_START = 2

_log = structlog.get_logger()


def main(name: HostName, settings: HostSettings) -> int:
    """Runs a host to its end and returns the exit code of its process."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=sys.stderr))
    return asyncio.run(_serve(name, settings))


async def _serve(name: HostName, settings: HostSettings) -> int:
    news = News()
    try:
        nodes = nodes_of(name, settings, news)
    except ValueError as error:
        _log.error("cannot_start", error=str(error))
        return _CANNOT_START
    scratch, thread = open_scratch(settings.scratch), BeatThread()
    asker = Asker(settings.orchestrator_url, name, settings.host_key.get_secret_value())
    host = Host(Home(settings, nodes, thread, scratch), asker, news)
    try:
        await _until_end(host, scratch)
    finally:
        await asker.aclose()
        await nodes.aclose()
        thread.close()
        close_scratch(scratch)
    return 0


async def _until_end(host: Host, scratch: Path) -> None:
    stop, orphaned = asyncio.Event(), asyncio.Event()
    _watch_stdin(orphaned)
    with _signals(stop, scratch):
        serving = asyncio.create_task(host.run(stop))
        alone = asyncio.create_task(orphaned.wait())
        try:
            await asyncio.wait({serving, alone}, return_when=asyncio.FIRST_COMPLETED)
            if alone.done():
                _log.info("orchestrator_gone")
                _exit_after(END_S_MAX, scratch)
            else:
                serving.result()
        finally:
            for task in (serving, alone):
                task.cancel()
            await asyncio.gather(serving, alone, return_exceptions=True)
            await host.end()


def _watch_stdin(ended: asyncio.Event) -> None:
    """On a thread: whatever stdin is, it can be read to its end."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # The loop has ended before stdin.
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="stdin", daemon=True).start()


def _exit_after(seconds: float, scratch: Path) -> None:
    """Whatever still hangs by then."""

    def leave() -> None:
        close_scratch(scratch)
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def _signals(stop: asyncio.Event, scratch: Path) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        if stop.is_set():
            close_scratch(scratch)
            os._exit(1)
        _log.info("stopping", signal=name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

"""What the worker adds to a resident engine: a whole job through it, against the bare library call.

    .venv/bin/python bench/resident.py [--rounds 5] [--audio-s 40]

Both transcribe the same speech with the same weights, threads and options, by turns, each model loaded beforehand.
The worker's job includes fetching its input over HTTP, its process, its pipe, progress, and the transcript's files;
the bare call is the library's own, in this process. Prints the ratio of the medians; the aim is at most 1.10.
"""

import argparse
import asyncio
import functools
import http.server
import statistics
import tempfile
import threading
import time
from pathlib import Path

from hibari import Hibari

from worker_image.engines.base import EngineConfig
from worker_image.engines.registry import probe_all
from worker_image.engines.whisper_faster import FasterWhisper
from worker_image.execute import Ears, Executor, Work
from worker_image.host.pool import HostPool
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.media.sound import write_mp3

TEXT = "The quick brown fox jumps over the lazy dog. Please render the video before midnight, and tell me why not. "


def make_speech(folder: Path, audio_s: float) -> float:
    voice = Hibari()
    one = voice(TEXT, seed=0)
    parts = [one] * max(1, round(audio_s * voice.sample_rate / len(one)))
    write_mp3(parts, voice.sample_rate, folder / "speech.mp3")
    return sum(map(len, parts)) / voice.sample_rate


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def serve(folder: Path) -> str:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/speech.mp3"


def bare(backend: FasterWhisper, path: Path) -> float:
    started = time.perf_counter()
    segments, _ = backend._model.transcribe(  # noqa: SLF001  The library's model, as the backend loaded it.
        str(path), task="transcribe", language="en", beam_size=5, word_timestamps=True
    )
    list(segments)
    return time.perf_counter() - started


async def through_worker(executor: Executor, fetcher: Fetcher, url: str, folder: Path, number: int) -> float:
    started = time.perf_counter()
    work_folder = folder / f"job-{number}"
    work_folder.mkdir()
    asked = {"audio_url": url}
    work = Work(f"job-{number}", "whisper", "tiny.en", asked, work_folder, {"audio_url": url})
    await executor.run(work, fetcher, Ears(lambda _: None))
    return time.perf_counter() - started


async def compare(rounds: int, audio_s: float) -> None:
    offers, _ = probe_all(EngineConfig())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        length_s = make_speech(folder, audio_s)
        url = serve(folder)
        pool = HostPool(EngineConfig(), folder / "hosts")
        executor = Executor(pool, tuple(offers), Prefetched(folder / "prefetched"), "cpu")
        fetcher = Fetcher(allow_hosts=("127.0.0.1",))
        backend = FasterWhisper(EngineConfig())
        backend.load("tiny.en")
        alone, whole = [], []
        bare(backend, folder / "speech.mp3")
        await through_worker(executor, fetcher, url, folder, 0)
        for number in range(1, rounds + 1):
            alone.append(bare(backend, folder / "speech.mp3"))
            whole.append(await through_worker(executor, fetcher, url, folder, number))
        await fetcher.aclose()
        await pool.close()
    ratio = statistics.median(whole) / statistics.median(alone)
    print(f"speech {length_s:.0f} s, {rounds} rounds by turns, both warm")
    print("bare   s:", " ".join(f"{one:.2f}" for one in alone))
    print("worker s:", " ".join(f"{one:.2f}" for one in whole))
    print(
        f"worker / bare = {ratio:.3f} (medians; aim: at most 1.10), {min(whole) / min(alone):.3f} (fastest)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--audio-s", type=float, default=40.0)
    given = parser.parse_args()
    asyncio.run(compare(given.rounds, given.audio_s))


if __name__ == "__main__":
    main()

"""What the worker costs beside its engine: a process a job, a resident engine, and the bare engine; and the gap.

    .venv/bin/python bench/worker_overhead.py [--jobs 10] [--audio-s 20] [--gap-jobs 10]

The same ten transcriptions are run (a) with one process for each, which loads its model anew, (b) through the worker
with its engine resident, and (c) by the bare library call; wall over inference is printed for each. (The first
generation's own figure for (a), of a heavier model, is 141.62 s of wall for 20.63 s of inference: 6.9.)
Then a real server and a real worker run jobs of five seconds, each with an input that takes two seconds to download:
the gap from the end of one job's program to the start of the next one's is what prefetching left of it.
"""

import argparse
import asyncio
import functools
import http.server
import io
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import httpx
from hibari import Hibari
from load import orchestrator

from gpulease.client import Client
from gpulease.contract.jobs import JobRequest, JobView
from worker_image.engines.base import EngineConfig
from worker_image.engines.registry import probe_all
from worker_image.engines.whisper_faster import FasterWhisper
from worker_image.execute import Ears, Executor, Work
from worker_image.host.pool import HostPool
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.media.sound import write_mp3

TEXT = "The quick brown fox jumps over the lazy dog. Please render the video before midnight, and tell me why not. "
DOWNLOAD_S = 2.0
PROGRAM_S = 5.0
# What stands for an inference: it tells when it began and when it ended.
PROGRAM = """
import json, pathlib, sys, time
began = time.time()
assert pathlib.Path(sys.argv[1]).stat().st_size > 0
time.sleep(float(sys.argv[3]))
pathlib.Path(sys.argv[2], "times.json").write_text(json.dumps([began, time.time()]))
"""


def make_speech(folder: Path, audio_s: float) -> float:
    voice = Hibari()
    one = voice(TEXT, seed=0)
    parts = [one] * max(1, round(audio_s * voice.sample_rate / len(one)))
    write_mp3(parts, voice.sample_rate, folder / "speech.mp3")
    return sum(map(len, parts)) / voice.sample_rate


def bare(backend: FasterWhisper, path: Path) -> float:
    started = time.perf_counter()
    segments, _ = backend._model.transcribe(  # noqa: SLF001  The library's model, as the backend loaded it.
        str(path), task="transcribe", language="en", beam_size=5, word_timestamps=True
    )
    list(segments)
    return time.perf_counter() - started


class Workers:
    """Runs a job through a worker whose engine may have to be started first."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._offers = tuple(probe_all(EngineConfig())[0])
        self._number = 0

    async def job(self, pool: HostPool) -> tuple[float, float]:
        """Wall and inference, in s."""
        self._number += 1
        name = f"job-{self._number}"
        folder = self._folder / name
        folder.mkdir()
        executor = Executor(pool, self._offers, Prefetched(self._folder / "prefetched"), "cpu")
        fetcher = Fetcher(allow_hosts=("127.0.0.1",))
        work = Work(name, "whisper", "tiny.en", {"audio_url": self._url}, folder, {"audio_url": self._url})
        started = time.perf_counter()
        made = await executor.run(work, fetcher, Ears(lambda _: None))
        wall_s = time.perf_counter() - started
        await fetcher.aclose()
        return wall_s, float(made.outcome.metrics["GENERATION_TIME_SEC"])

    async def alone(self) -> tuple[float, float]:
        """With a process of its own, which is started and ended within the wall time."""
        started = time.perf_counter()
        pool = HostPool(EngineConfig(), self._folder / f"hosts-{self._number}")
        try:
            _, inference_s = await self.job(pool)
        finally:
            await pool.close()
        return time.perf_counter() - started, inference_s


async def overhead(jobs: int, audio_s: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        length_s = make_speech(folder, audio_s)
        workers = Workers(folder, f"{serve(folder)}/speech.mp3")
        backend = FasterWhisper(EngineConfig())
        backend.load("tiny.en")
        pool = HostPool(EngineConfig(), folder / "resident")
        bare(backend, folder / "speech.mp3")
        await workers.job(pool)
        alone, resident, plain = [], [], []
        for number in range(jobs):  # By turns, so that whatever else this machine does meets all three alike.
            plain.append(bare(backend, folder / "speech.mp3"))
            resident.append(await workers.job(pool))
            alone.append(await workers.alone())
            show(f"round {number + 1} of {jobs}")
        await pool.close()
    inference_s = statistics.median(plain)
    print(
        f"{jobs} jobs by turns, each {length_s:.0f} s of speech; medians; inference is (c), {inference_s:.2f} s"
    )
    print(
        f"(a) a process a job  wall {_wall(alone):6.2f} s   wall / inference {_wall(alone) / inference_s:.2f}"
    )
    ratio = _wall(resident) / inference_s
    print(
        f"(b) resident         wall {_wall(resident):6.2f} s   wall / inference {ratio:.2f}   (aim: at most 1.10)"
    )
    print(f"(c) bare engine      wall {inference_s:6.2f} s   wall / inference 1.00")


def _wall(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(wall for wall, _ in pairs)


class _Files(http.server.SimpleHTTPRequestHandler):
    """Each file takes `delay_s`."""

    delay_s = 0.0

    def do_GET(self) -> None:
        time.sleep(self.delay_s)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def serve(folder: Path, delay_s: float = 0.0) -> str:
    handler = type("_Delayed", (_Files,), {"delay_s": delay_s})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def gaps(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input").write_bytes(os.urandom(100_000))
        words = [
            "-c",
            PROGRAM,
            "$RENDERONLINE:@uploaded_file",
            "$RENDERONLINE:@output_dir",
            "$RENDERONLINE:seconds",
        ]
        program = {"executable": sys.executable, "arguments": words, "types": {"seconds": "real"}}
        (folder / "programs.json").write_text(json.dumps({"render": program}))
        settings = {
            "GPULEASE_PROVIDERS": "local",
            "GPULEASE_LOCAL_WORKERS_MAX": "1",
            "GPULEASE_COMMANDS": str(folder / "programs.json"),
            "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }
        with orchestrator(folder / "data", **settings) as url:
            found = _times(url, serve(folder, DOWNLOAD_S), jobs)
    between = sorted(after[0] - before[1] for before, after in itertools.pairwise(found))
    print(f"{jobs} jobs of {PROGRAM_S:.0f} s, each input {DOWNLOAD_S:.0f} s to download, one worker")
    print(
        f"gap between inferences: median {statistics.median(between):.3f} s, longest {between[-1]:.3f} s (aim: 0.2 s)"
    )


def _times(url: str, files: str, jobs: int) -> list[tuple[float, float]]:
    """When each program began and ended, in order."""
    given = {"program": "render", "file_url": f"{files}/input", "arguments": {"seconds": PROGRAM_S}}
    with Client(url) as client:
        asked = [client.submit(JobRequest(engine="command", input=given)) for _ in range(jobs)]
        done = []
        for number, job in enumerate(asked):
            done.append(_read(client.wait(job.id)))
            show(f"job {number + 1} of {jobs}")
    return sorted(done)


def _read(job: JobView) -> tuple[float, float]:
    if job.result is None:
        raise SystemExit(f"a job did not succeed: {job.fault}")
    (file,) = job.result.files
    with zipfile.ZipFile(io.BytesIO(httpx.get(file.url).content)) as archive:
        began, ended = json.loads(archive.read("times.json"))
    return began, ended


def show(text: str) -> None:
    print(f"\r{text}", end="\r", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--audio-s", type=float, default=20.0)
    parser.add_argument("--gap-jobs", type=int, default=10)
    given = parser.parse_args()
    if given.jobs:
        asyncio.run(overhead(given.jobs, given.audio_s))
    if given.gap_jobs > 1:
        gaps(given.gap_jobs)


if __name__ == "__main__":
    main()

"""A worker's engine processes over the stand-in for MuseTalk, and inputs for it."""

import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))

from musetalk_checkout import WEIGHTS, counted, make_checkout, turn
from talking_media import face_film, speech

from gpulease.contract.engines import CATALOGUE
from worker_image.engines.base import EngineConfig, EngineJob, Outcome
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool
from worker_image.host.process import Step

__all__ = ["BACKENDS", "URLS", "WEIGHTS", "World", "inputs", "make_checkout", "world_of"]
BACKENDS = {"one-shot": "musetalk-one-shot", "resident": "musetalk"}
URLS = {"video_url": "https://example.com/video.mp4", "audio_url": "https://example.com/audio.wav"}


@dataclass(slots=True)
class World:
    """One mode's process, its checkout, and what was said of the last job."""

    mode: str
    pool: HostPool
    folder: Path
    checkout: Path
    steps: list[Step] = field(default_factory=list)
    log: str = ""
    took_s: float = 0.0
    at: list[float] = field(default_factory=list)
    number: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return counted(self.checkout)

    def turn(self, **knobs) -> None:
        turn(self.checkout, **knobs)

    def note(self, step: Step) -> None:
        self.steps.append(step)
        self.at.append(time.monotonic())

    async def run(self, video: Path, audio: Path, folder: Path | None = None, **asked) -> Outcome:
        self.number += 1
        folder = folder or self.folder / f"job-{self.number}"
        folder.mkdir(parents=True)
        checked = CATALOGUE["musetalk"].input_model.model_validate({**URLS, **asked})
        files = {"video_url": str(video), "audio_url": str(audio)}
        job = EngineJob(folder.name, "musetalk", None, checked.model_dump(), files, str(folder))
        self.steps, self.at, began = [], [], time.monotonic()
        async with self.pool.lease("musetalk", BACKENDS[self.mode], None) as host:
            log = JobLog(host.log_path)
            try:
                return await host.run(job, log, self.note)
            finally:
                self.log, self.took_s = log.read(1_000_000), time.monotonic() - began


@contextlib.asynccontextmanager
async def world_of(mode: str, folder: Path, **knobs) -> AsyncIterator[World]:
    checkout = make_checkout(folder / "checkout", **knobs)
    config = EngineConfig(device="cpu", musetalk_workdir=str(checkout), musetalk_mode=mode)
    pool = HostPool(config, folder / "hosts")
    try:
        yield World(mode, pool, folder, checkout)
    finally:
        await pool.close()


def inputs(folder: Path, seconds: float = 1.6, length: float = 2.0, **film) -> tuple[Path, Path]:
    """A film of `length` seconds, and `seconds` of speech."""
    folder.mkdir(parents=True, exist_ok=True)
    return face_film(folder / "face", length, **film), speech(folder / "voice", seconds)

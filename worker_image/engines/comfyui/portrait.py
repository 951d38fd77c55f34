"""`portrait` by the SONIC graph: the image and the sound prepared, the film checked."""

import asyncio
import math
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpulease.contract.engines import PortraitInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineJob, MadeFile, Outcome, Report
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.graph import FILM, Portrait, sonic_graph
from worker_image.engines.comfyui.inputs import checked
from worker_image.engines.comfyui.offers import SONIC, models_here
from worker_image.engines.comfyui.outputs import fetched, outputs_of
from worker_image.engines.comfyui.replies import Ending, Stored
from worker_image.engines.comfyui.run import PATIENCE, Patience, run_graph
from worker_image.faults import Cancelled, HostFault, InputFault
from worker_image.media.images import clean_image, workflow_size
from worker_image.media.probe import Media, require_audio, require_video
from worker_image.media.programs import ffmpeg, ffprobe, named, run_ffmpeg

SECONDS_MORE = 1
"""The node cuts its film at the end of the sound, so it may be asked for a little too much."""
_TAKEN = {("mp3", "mp3"): ".mp3", ("wav", "pcm_s16le"): ".wav", ("wav", "pcm_f32le"): ".wav"}
_AS_MP3 = (
    "-map",
    "0:a:0",
    "-vn",
    "-sn",
    "-dn",
    "-c:a",
    "libmp3lame",
    "-q:a",
    "2",
    "-ac",
    "2",
    "-ar",
    "44100",
)
_FILMS = (".mp4", ".mov", ".mkv", ".webm")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Still:
    """The size is the one to work in, in pixels."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Voice:
    path: Path
    suffix: str
    duration_s: float


def media_programs() -> str | None:
    """Why portraits cannot be prepared here, if that is so."""
    try:
        ffmpeg()
        ffprobe()
    except HostFault as fault:
        return fault.message
    return None


async def make_portrait(
    server: ComfyUI, job: EngineJob, report: Report, patience: Patience = PATIENCE
) -> Outcome:
    asked = checked(PortraitInput, job.input)
    report(0.0, "preparing the image and the sound", phase=Phase.PREPARING)
    still, voice = await _prepared(job)
    models = await models_here(server)
    report(0.5, "uploading the image and the sound", phase=Phase.PREPARING)
    portrait = Portrait(
        image=await server.upload(still.path, still.path.suffix),
        audio=await server.upload(voice.path, voice.suffix),
        width=still.width,
        height=still.height,
        seconds=math.ceil(voice.duration_s) + SECONDS_MORE,
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        steps=asked.steps,
        fps=asked.fps,
        prefix=f"gpulease_{_UNSAFE.sub('_', job.id)[:64]}",
    )
    report(0.0, "submitting the portrait")
    ending = await run_graph(server, sonic_graph(portrait, models), report, patience)
    (path,) = await fetched(server, [_film(ending)], job.out, report)
    film = await asyncio.to_thread(_checked_film, path)
    return Outcome(
        model=SONIC, data=_facts(portrait, film), files=(MadeFile("portrait.mp4", film.path, "video/mp4"),)
    )


async def _prepared(job: EngineJob) -> tuple[Still, Voice]:
    """In a thread, which ends soon when nobody waits for it any more."""
    given_up = threading.Event()

    def unless_given_up(_: float) -> None:
        if given_up.is_set():
            raise Cancelled

    try:
        still = await asyncio.to_thread(still_of, Path(job.files["image_url"]), Path(job.folder))
        sound = Path(job.files["audio_url"])
        voice = await asyncio.to_thread(voice_of, sound, Path(job.folder), unless_given_up)
    finally:
        given_up.set()
    return still, voice


def still_of(source: Path, folder: Path) -> Still:
    """The image the right way up, no side longer than 2048, without transparency; to be worked on within 1280x720."""
    path = folder / "portrait.jpg"
    width, height = workflow_size(clean_image(source, path, "image_url", kind="JPEG"))
    return Still(path, width, height)


def voice_of(source: Path, folder: Path, on_seconds: Callable[[float], None] = lambda _: None) -> Voice:
    """The sound as MP3, unless it is that or plain WAV already. `on_seconds` may raise to end it."""
    sound = require_audio(source, "audio_url")
    suffix = _TAKEN.get((sound.container, sound.audio_codec or ""))
    if suffix is None or sound.duration_s is None:
        target = folder / "voice.mp3"
        run_ffmpeg([*sound.arguments, *_AS_MP3, named(target)], on_seconds=on_seconds)
        sound, suffix = require_audio(target, "audio_url"), ".mp3"
    if not sound.duration_s:
        raise InputFault("input_unreadable", "audio_url: it cannot be said how long the sound is")
    return Voice(Path(sound.path), suffix, sound.duration_s)


def _film(ending: Ending) -> Stored:
    files = outputs_of(ending.files)
    films = [one for one in files if one.node == FILM and one.filename.lower().endswith(_FILMS)]
    if not films:
        raise HostFault("output_missing", "ComfyUI says that it is done, and lists no film")
    return films[-1]


def _checked_film(path: Path) -> Media:
    try:
        film = require_video(path, "the film")
    except InputFault as fault:
        raise HostFault("output_invalid", f"ComfyUI made no film: {fault.message}") from fault
    if not film.has_audio:
        raise HostFault("output_invalid", f"ComfyUI made a film without its sound: {film.described()}")
    return film


def _facts(portrait: Portrait, film: Media) -> dict[str, float | int | None]:
    return {
        "seed": portrait.seed,
        "steps": portrait.steps,
        "fps": film.fps,
        "width": film.width,
        "height": film.height,
        "duration_s": film.duration_s,
    }

"""What MuseTalk works on, made from a job's inputs: nothing that a client sent reaches it as it came.

It gets speech as a WAV of whole seconds (it drops what is left over of the last one) that is on time for its sums, and
pictures at a steady, whole
number a second (it counts sound in whole ones, so that lips would drift at 29.97) with even sides (its encoder refuses
odd ones), and only as many of them as the speech needs.
"""

import math
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpulease.contract.engines import MusetalkParams
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineJob, Report
from worker_image.faults import InputFault
from worker_image.media.images import read_image
from worker_image.media.probe import Media, probe, require_audio, require_image, require_video
from worker_image.media.programs import named, run_ffmpeg

FPS = 25
FPS_MAX = 49
FPS_MIN = 5
FRAMES_MAX = 15_000
RATE_HZ = 16_000
SPEECH_S_MAX = 3_600
_EVEN = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
_COPY_FRAMES = 65_536

Tick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Speech:
    """`voice`: 16 kHz mono WAV of whole seconds. `sound`: AAC for the film. `seconds`: how long it really is."""

    voice: Path
    sound: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Materials:
    """`frames` is how many the film has."""

    face: Media
    speech: Speech
    fps: int
    frames: int


def prepare(job: EngineJob, params: MusetalkParams, folder: Path, report: Report) -> Materials:
    """Checks both inputs and converts the sound into `folder`.

    Raises:
        InputFault: one of them is not what it must be, or the film would be too long.
    """
    face = probe(job.files["video_url"], "video_url")
    face = (require_image if face.kind == "image" else require_video)(face.path, "video_url")
    sound = require_audio(job.files["audio_url"], "audio_url")
    fps = frames_per_s(face, params)
    lead = _lead_samples(fps, params.audio_padding_length_left)
    speech = _speech(sound, folder, lead, _listening(report))
    frames = max(1, math.ceil(speech.seconds * fps - 1e-6))
    if frames > FRAMES_MAX:
        long = f"{speech.seconds:.0f} s of speech are {frames} frames at {fps} a second"
        raise InputFault("input_too_long", f"audio_url: {long}; {FRAMES_MAX} are allowed")
    return Materials(face, speech, fps, frames)


def _listening(report: Report) -> Tick:
    return lambda seconds: report(0.0, f"reading the sound, {seconds:.0f} s", phase=Phase.PREPARING)


def frames_per_s(face: Media, params: MusetalkParams) -> int:
    """What was asked for, or the source's own: halved where it is too fast, `FPS` where it is none."""
    if params.fps is not None:
        return params.fps
    fps = round(face.fps)
    while fps > FPS_MAX:
        fps = round(fps / 2)
    crossed = params.audio_padding_length_left > params.audio_padding_length_right
    return FPS if fps < FPS_MIN or (crossed and fps > FPS) else fps


def _lead_samples(fps: int, padding_left: int) -> int:
    """How much later (negative: earlier) MuseTalk must hear the sound for lips that are on time.

    It looks at each frame through a window of 20 ms steps, and fills the beginning with as many times `padding_left`
    of them as steps fit into a frame; only for two, at 25 frames a second, the window's middle is the frame.
    """
    steps = 2 - 50 // fps
    return steps * padding_left * RATE_HZ // 50


def _speech(sound: Media, folder: Path, lead: int, tick: Tick) -> Speech:
    raw, voice, aac = folder / "voice.pcm", folder / "voice.wav", folder / "sound.m4a"
    first = ["-map", "0:a:0", "-t", str(SPEECH_S_MAX + 1)]
    mono = [*first, "-ac", "1", "-ar", str(RATE_HZ), "-f", "s16le", named(raw)]
    run_ffmpeg([*sound.arguments, *mono, *first, "-c:a", "aac", "-b:a", "160k", named(aac)], on_seconds=tick)
    samples = raw.stat().st_size // 2
    if samples == 0:
        raise InputFault("input_unreadable", "audio_url has a sound track with no sound in it")
    if samples > SPEECH_S_MAX * RATE_HZ:
        raise InputFault("input_too_long", f"audio_url lasts longer than {SPEECH_S_MAX} s")
    _write_whole_seconds(raw, samples, lead, voice)
    raw.unlink()
    return Speech(voice, aac, samples / RATE_HZ)


def _write_whole_seconds(raw: Path, samples: int, lead: int, voice: Path) -> None:
    with raw.open("rb") as source, wave.open(str(voice), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(bytes(2 * max(lead, 0)))
        source.seek(2 * max(-lead, 0))
        while chunk := source.read(2 * _COPY_FRAMES):
            out.writeframes(chunk)
        whole = -(-max(samples, samples + lead) // RATE_HZ) * RATE_HZ
        out.writeframes(bytes(2 * (whole - out.tell())))


def extract_frames(materials: Materials, folder: Path, tick: Tick) -> int:
    """Leaves pictures in `folder`, named in their order, for a still a single one, and returns how many.

    They are JPEG of the best quality: its loss is far below that of any film, and small builds of ffmpeg write no PNG.
    """
    if materials.face.kind == "image":
        _still(materials.face, folder / "00000000.png")
        return 1
    pattern = named(folder).replace("%", "%%") + "/%08d.jpg"
    best = ["-c:v", "mjpeg", "-q:v", "1", "-qmin", "1", "-pix_fmt", "yuvj444p", "-strict", "unofficial"]
    pictures = [*_picked(materials), *best, "-start_number", "0", "-f", "image2", pattern]
    run_ffmpeg([*materials.face.arguments, *pictures], on_seconds=tick)
    made = sum(1 for _ in folder.iterdir())
    if made == 0:
        raise InputFault("input_unreadable", "video_url has no frame that can be read")
    return made


def write_film(materials: Materials, path: Path, tick: Tick) -> None:
    """The face as the film that MuseTalk's script takes; a still stands for two frames, since it fails on pictures."""
    encoder = ["-c:v", "libx264", "-crf", "10", "-preset", "veryfast", "-pix_fmt", "yuv420p", named(path)]
    if materials.face.kind == "image":
        still = path.with_suffix(".bmp")
        _still(materials.face, still)
        looped = ["-f", "image2", "-pattern_type", "none", "-loop", "1", "-framerate", str(materials.fps)]
        run_ffmpeg([*looped, "-i", named(still), "-frames:v", "2", *encoder], on_seconds=tick)
        return
    run_ffmpeg([*materials.face.arguments, *_picked(materials), *encoder], on_seconds=tick)


def _picked(materials: Materials) -> list[str]:
    pick = f"fps={materials.fps},{_EVEN}"
    return ["-map", "0:v:0", "-an", "-sn", "-vf", pick, "-frames:v", str(materials.frames)]


def _still(face: Media, path: Path) -> None:
    image = read_image(face.path, "video_url").convert("RGB")
    if min(image.size) < 2:
        raise InputFault("input_too_small", "video_url is a picture of less than 2 by 2 pixels")
    image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2)).save(path)

"""One job: sound to features, features to mouths, mouths into frames, frames to a film, one after the other.

Unlike MuseTalk's script it holds no film in memory, and keeps a frame without a face as it is, where the script would
drop it and let the lips drift.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .avatars import Avatars, Face
from .channel import Channel
from .film import open_film
from .models import Models

_LANDMARK_WORK = 3
"""Finding a face in a frame takes about so many times as long as moving its lips."""


class NoFace(Exception):
    """Not one frame shows a face."""


@dataclass(slots=True)
class Course:
    """How far a job is: steps of both kinds, weighed."""

    channel: Channel
    known: int
    frames: int
    new: int = 0

    def found(self, done: int, total: int) -> None:
        self._tell((done - self.known) * _LANDMARK_WORK, "finding the face", done, total)

    def spoken(self, done: int) -> None:
        self._tell(self.new * _LANDMARK_WORK + done, "moving the lips", done, self.frames)

    def _tell(self, work: int, message: str, step: int, steps: int) -> None:
        share = work / max(self.new * _LANDMARK_WORK + self.frames, 1)
        self.channel.progress(min(share, 1.0), message, step, steps)


def speak(models: Models, avatars: Avatars, job: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Makes the film at job["out"], and returns facts of it.

    Raises:
        TakenBack: the job was cancelled.
        NoFace: there was nothing to move.
    """
    params = job["params"]
    key = f"{job['avatar']}-{params['extra_margin']}"
    paths = sorted(map(str, Path(job["pictures"]).iterdir()))[: job["picture_count"]]
    known = min(avatars.known(key), len(paths))
    course = Course(channel, known, job["frames"], len(paths) - known)
    course.spoken(0) if course.new == 0 else course.found(known, len(paths))
    faces = avatars.faces(key, paths, params["extra_margin"], lambda done: course.found(done, len(paths)))
    if not any(faces):
        raise NoFace
    began = time.monotonic()
    chunks = _sound_of(models, job)
    channel.check()
    _write(models, job, (paths, faces, chunks), course)
    without = sum(faces[_at(number, len(faces))] is None for number in range(job["frames"]))
    took = round(time.monotonic() - began, 3)
    return {"frames_without_face": without, "avatar_known": course.new == 0, "GENERATION_TIME_SEC": took}


def _sound_of(models: Models, job: dict[str, Any]) -> Any:
    params = job["params"]
    features, length = models.listener.get_audio_feature(job["voice"])
    chunks = models.listener.get_whisper_chunk(
        [one.to(dtype=models.dtype) for one in features],
        models.device,
        models.dtype,
        models.whisper,
        length,
        fps=job["fps"],
        audio_padding_length_left=params["audio_padding_length_left"],
        audio_padding_length_right=params["audio_padding_length_right"],
    )
    if len(chunks) < job["frames"]:
        raise RuntimeError(f"the sound gives {len(chunks)} frames instead of {job['frames']}")
    return chunks


def _at(number: int, count: int) -> int:
    """Which picture a frame of the film shows: to the end and back again, as MuseTalk does it."""
    place = number % (2 * count)
    return place if place < count else 2 * count - 1 - place


def _write(
    models: Models, job: dict[str, Any], parts: tuple[list[str], list[Face | None], Any], course: Course
) -> None:
    cv2 = import_module("cv2")
    paths, faces, chunks = parts
    shown = [_at(number, len(paths)) for number in range(job["frames"])]
    lips = _lips(models, job, [(chunks[n], face) for n, at in enumerate(shown) if (face := faces[at])])
    height, width = cv2.imread(paths[0]).shape[:2]
    with open_film(job, width, height) as film:
        for number, at in enumerate(shown):
            frame, face = cv2.imread(paths[at]), faces[at]
            film.write(frame if face is None else _blended(models, job, frame, face, next(lips)))
            course.spoken(number + 1)


def _lips(models: Models, job: dict[str, Any], wanted: list[tuple[Any, Face]]) -> Iterator[Any]:
    """A mouth for each frame that has a face, by batches."""
    sounds, latents = [sound for sound, _ in wanted], [face.latent for _, face in wanted]
    batches = models.batches(sounds, latents, job["params"]["batch_size"], device=models.device)
    for sound_batch, latent_batch in batches:
        heard = models.positions(sound_batch.to(dtype=models.dtype))
        latent = latent_batch.to(dtype=models.dtype)
        guessed = models.unet.model(latent, models.timesteps, encoder_hidden_states=heard).sample
        yield from models.vae.decode_latents(guessed)


def _blended(models: Models, job: dict[str, Any], frame: Any, face: Face, mouth: Any) -> Any:
    params = job["params"]
    left, top, right, bottom = face.box
    parser = models.parser(params["left_cheek_width"], params["right_cheek_width"])
    fitted = import_module("cv2").resize(mouth.astype("uint8"), (right - left, bottom - top))
    return models.blend(frame, fitted, list(face.box), mode=params["parsing_mode"], fp=parser)

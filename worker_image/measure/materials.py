"""Inputs that are made on the spot, so that engines can be tried and measured without anybody's files."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpulease.contract.engines import CATALOGUE
from worker_image.engines.base import EngineConfig, EngineJob
from worker_image.media.programs import run_bounded

TEXT = (
    "The quick brown fox jumps over the lazy dog. A worker measures what a job takes, so that the next one is sent "
    "where it is done soonest for the least money."
)
PROMPT = "A paper boat sails down a rainy street, seen from close by."
ADDRESS = "https://inputs.invalid/"
BLENDER_S_MAX = 60.0
_SAVE_SCENE = "import bpy, sys; bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1])"


class Missing(Exception):
    """There is no input for this engine; the message says what would be needed."""


@dataclass(frozen=True, slots=True)
class Material:
    """A job to repeat: its input, the local files of its URL fields, and what it is in words."""

    input: dict[str, Any]
    files: dict[str, Path]
    about: str

    def job(self, engine: str, model: str | None, folder: Path) -> EngineJob:
        """One more of it in `folder`, which is new. It gets copies: an engine may rename its inputs."""
        folder.mkdir(parents=True)
        copies = {}
        for number, (name, path) in enumerate(self.files.items()):
            copies[name] = str(folder / f"input-{number}")
            shutil.copyfile(path, copies[name])
        return EngineJob(uuid4().hex, engine, model, self.input, copies, str(folder))


Speak = Callable[[str, Path], Awaitable[Path]]


class Materials:
    """`speak` says a text into a file. `given` are jobs of the owner's, by engine: files as `read_job` takes them."""

    def __init__(self, config: EngineConfig, folder: Path, speak: Speak, given: dict[str, Path]) -> None:
        self._config = config
        self._folder = folder
        self._speak = speak
        self._given = given
        self._speech: Path | None = None

    async def of(self, engine: str) -> Material:
        """An ordinary job of the engine. Raises: Missing."""
        if engine in self._given:
            return await asyncio.to_thread(read_job, engine, self._given[engine])
        makers: dict[str, Callable[[], Awaitable[Material]]] = {
            "csm": self._for_csm,
            "whisper": self._for_whisper,
            "analyze": self._for_analyze,
            "portrait": self._for_portrait,
            "video": self._for_video,
            "blender": self._for_blender,
            "musetalk": self._for_musetalk,
        }
        if engine not in makers:
            raise Missing(f"its jobs are your own: name one with --job {engine}=FILE.json")
        return await makers[engine]()

    async def _for_csm(self) -> Material:
        return Material({"text": TEXT, "max_audio_length": 60_000}, {}, "two sentences")

    async def _for_whisper(self) -> Material:
        return _with_files({}, {"audio_url": await self._spoken()}, "two sentences of made speech")

    async def _for_analyze(self) -> Material:
        return _with_files({}, {"image_url": self._picture()}, "a drawn 1280x720 picture")

    async def _for_portrait(self) -> Material:
        files = {"image_url": self._picture(), "audio_url": await self._spoken()}
        return _with_files({"seed": 1}, files, "a drawn face and two sentences of made speech")

    async def _for_video(self) -> Material:
        return Material({"prompt": PROMPT, "duration": 2.0, "seed": 1}, {}, "2 s at 848x480 and 24 fps")

    async def _for_blender(self) -> Material:
        scene = await asyncio.to_thread(factory_scene, self._config, self._folder)
        size = {"width": 640, "height": 360, "engine": "CYCLES", "samples": 32}
        about = "Blender's factory scene, one 640x360 frame, Cycles, 32 samples"
        return _with_files(size, {"file_url": scene}, about)

    async def _for_musetalk(self) -> Material:
        """A film and a voice that ship with MuseTalk's code."""
        data = Path(self._config.musetalk_workdir or "") / "data"
        films, voices = sorted(data.glob("video/*.mp4")), sorted(data.glob("audio/*.wav"))
        if not films or not voices:
            raise Missing(f"no film and voice below {data}: name some with --job musetalk=FILE.json")
        files = {"video_url": films[0], "audio_url": voices[0]}
        return _with_files({}, files, f"{films[0].name} and {voices[0].name} of MuseTalk's examples")

    async def _spoken(self) -> Path:
        if self._speech is None:
            self._speech = await self._speak(TEXT, self._folder)
        return self._speech

    def _picture(self) -> Path:
        """A plain face, since some engines look for one."""
        from PIL import Image, ImageDraw  # noqa: PLC0415  Only a worker's installation has it.

        path = self._folder / "picture.png"
        image = Image.new("RGB", (1280, 720), (120, 160, 200))
        pen = ImageDraw.Draw(image)
        pen.ellipse((440, 110, 840, 660), fill=(226, 188, 160))
        for left in (530, 680):
            pen.ellipse((left, 300, left + 70, 335), fill="white", outline="black")
            pen.ellipse((left + 25, 305, left + 45, 330), fill="black")
        pen.polygon([(640, 350), (615, 450), (665, 450)], fill=(205, 160, 132))
        pen.ellipse((560, 520, 720, 565), fill=(180, 60, 70))
        image.save(path)
        return path


def factory_scene(config: EngineConfig, folder: Path) -> Path:
    """Blender's own start-up scene as a file. Raises: Missing."""
    path = folder / "scene.blend"
    options = ("-b", "--factory-startup", "-noaudio", "--python-exit-code", "3", "--python-expr", _SAVE_SCENE)
    program = shutil.which(config.blender)
    if program is None:
        raise Missing(f"the program {config.blender!r} is not installed")
    ran = run_bounded([program, *options, "--", str(path)], timeout_s=BLENDER_S_MAX)
    if not path.is_file():
        raise Missing(f"Blender could not save its scene: {ran.said[-300:]}")
    return path


def read_job(engine: str, path: Path) -> Material:
    """A job's input as JSON, with paths where a client would name URLs; they are relative to the file.

    Raises:
        Missing: it is not valid, or a file is not there.
    """
    try:
        asked = json.loads(path.read_text(encoding="utf-8"))
        named = CATALOGUE[engine].urls(asked)
    except (OSError, ValueError, AttributeError) as error:
        raise Missing(f"{path} is no job: {error}") from error
    files = {name: (path.parent / place).resolve() for name, place in named.items()}
    gone = [str(one) for one in files.values() if not one.is_file()]
    if gone:
        raise Missing(f"{path} names files that are not there: {', '.join(gone)}")
    return _with_files(asked, files, f"the job of {path.name}")


def _with_files(asked: dict[str, Any], files: dict[str, Path], about: str) -> Material:
    """Fields that name files get addresses, since inputs are checked to have some."""
    known = json.loads(json.dumps(asked))
    for name in files:
        field, _, key = name.partition(".")
        if key:
            known.setdefault(field, {})[key] = ADDRESS + key
        else:
            known[field] = ADDRESS + field
    return Material(known, files, about)

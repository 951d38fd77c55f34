"""MuseTalk in both modes, through an engine's process: films that speak, parameters, and ends that must not pass."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from musetalk_world import BACKENDS, World, inputs, world_of
from pydantic import ValidationError
from stopwatch import Stopwatch
from talking_media import face_picture, heard, mouths, speech

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import Phase
from worker_image.faults import HostFault, InputFault
from worker_image.media.probe import require_video
from worker_image.media.programs import run_ffmpeg

pytestmark = pytest.mark.slow

SLOW = pytest.mark.slow
BOTH = pytest.mark.parametrize("mode", BACKENDS)
ONE_SHOT = pytest.mark.parametrize("mode", ["one-shot"])


@pytest.fixture
async def world(mode: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(mode, tmp_path) as made:
        yield made


def film_of(outcome) -> Path:
    (file,) = outcome.files
    assert (file.name, file.content_type) == ("video.mp4", "video/mp4")
    return Path(file.path)


def likeness(opened: np.ndarray, seconds: float, fps: int, late: float = 0.0) -> float:
    """The correlation of the mouth with the sound, heard `late` s later, where both are."""
    at = np.arange(min(len(opened), int(seconds * fps))) / fps
    inner = (at > 0.2) & (at < seconds - 0.2)
    return float(np.corrcoef(opened[: len(at)][inner], heard(seconds, at[inner] + late))[0, 1])


@BOTH
async def test_the_mouth_follows_the_sound(world: World, tmp_path: Path):
    made = await world.run(*inputs(tmp_path / "in", 2.4, length=1.2))
    film = require_video(film_of(made), "film")
    assert film.duration_s == pytest.approx(2.4, abs=0.1)
    assert (film.width, film.height, film.fps, film.audio_codec) == (160, 120, 25.0, "aac")
    opened = mouths(film_of(made))
    assert made.data["frames"] == 60 <= len(opened) <= 63
    assert opened.max() > 300
    assert likeness(opened, 2.4, 25) > 0.95
    assert likeness(opened, 2.4, 25) > likeness(opened, 2.4, 25, late=0.12) + 0.1
    assert (made.model, made.ignored) == ("v1.5", ())
    assert 0 < made.metrics["GENERATION_TIME_SEC"] < world.took_s
    assert made.metrics["PEAK_RAM_KB"] > 10_000


@BOTH
async def test_progress_goes_forward_through_the_phases(world: World, tmp_path: Path):
    await world.run(*inputs(tmp_path / "in"))
    order = [Phase.PREPARING, Phase.INFERRING, Phase.ENCODING]
    places = [(order.index(step.phase), step.share) for step in world.steps]
    assert places == sorted(places)
    inferring = [step for step in world.steps if step.phase is Phase.INFERRING]
    assert len({step.share for step in inferring}) > 5
    assert inferring[-1].share > 0.9
    assert any(step.step and step.total_steps for step in inferring)


@BOTH
async def test_a_picture_speaks_too(world: World, tmp_path: Path):
    made = await world.run(face_picture(tmp_path / "face.png", (161, 121)), speech(tmp_path / "voice", 1.0))
    film = require_video(film_of(made), "film")
    assert (film.width, film.height, made.data["fps"]) == (160, 120, 25)
    assert mouths(film_of(made)).max() > 300


@BOTH
async def test_a_broken_pace_becomes_a_whole_one_and_odd_sides_even(world: World, tmp_path: Path):
    video, audio = inputs(tmp_path / "in", 1.7, fps="30000/1001", size=(151, 113))
    made = await world.run(video, audio)
    film = require_video(film_of(made), "film")
    assert (film.width, film.height, film.fps) == (150, 112, 30.0)
    assert film.duration_s == pytest.approx(1.7, abs=0.1)
    assert likeness(mouths(film_of(made)), 1.7, 30) > 0.93


@BOTH
@pytest.mark.parametrize("fps", [30, *(pytest.param(fps, marks=SLOW) for fps in (10, 20, 25, 49))])
async def test_lips_are_on_time_at_every_pace(world: World, tmp_path: Path, fps: int):
    """MuseTalk's own sums are right at 25 frames a second only."""
    made = await world.run(*inputs(tmp_path / "in", 2.3), params={"fps": fps})
    opened = mouths(film_of(made))
    like = {late: likeness(opened, 2.3, fps, late=late) for late in (-0.08, -0.04, 0, 0.04, 0.08)}
    assert like[0] > 0.9
    assert like[0] >= max(like[-0.08], like[0.08])


@BOTH
async def test_shape_and_size_are_as_asked(world: World, tmp_path: Path):
    made = await world.run(*inputs(tmp_path / "in", 0.6), aspect_ratio="9:16", resolution="360p")
    film = require_video(film_of(made), "film")
    assert (film.width, film.height) == (360, 640)
    assert film.has_audio


@BOTH
async def test_parameters_reach_it_and_foreign_ones_are_named(world: World, tmp_path: Path):
    params = {"fps": 20, "batch_size": 3, "extra_margin": 0, "parsing_mode": "neck", "left_cheek_width": 50}
    made = await world.run(
        *inputs(tmp_path / "in", 1.0), params={**params, "bbox_shift": 5, "use_float16": True}
    )
    assert (made.data["frames"], made.data["fps"]) == (20, 20)
    assert "params.bbox_shift" in made.ignored
    assert ("params.use_float16" in made.ignored) == (world.mode == "resident")


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"speed": 2}, "params.speed"),
        ({"batch_size": 0}, "params.batch_size"),
        ({"fps": 50}, "params.fps"),
        ({"parsing_mode": "raw; reboot"}, "params.parsing_mode"),
        ({"fps": 30, "audio_padding_length_left": 3}, "params"),
    ],
)
def test_what_it_cannot_take_is_refused_by_name(params: dict, named: str):
    urls = {"video_url": "http://x.com/v", "audio_url": "http://x.com/a"}
    with pytest.raises(ValidationError) as caught:
        CATALOGUE["musetalk"].input_model.model_validate({**urls, "params": params})
    assert [".".join(map(str, one["loc"])) for one in caught.value.errors()] == [named]


@BOTH
@pytest.mark.parametrize(
    ("fail", "kind", "code"),
    [
        ("oom", HostFault, "out_of_memory"),
        ("crash", HostFault, "musetalk_failed"),
        ("exit", InputFault, "sound_unusable"),
        ("weights", HostFault, "weights_missing"),
        ("killed", HostFault, "musetalk_killed"),
    ],
)
async def test_a_failure_is_told_though_the_exit_code_is_0(
    world: World, tmp_path: Path, fail: str, kind: type, code: str
):
    """And the next job runs, whatever became of the models."""
    world.turn(fail=fail)
    video, audio = inputs(tmp_path / "in", 0.5)
    with pytest.raises(kind) as caught:
        await world.run(video, audio)
    assert caught.value.code == code
    world.turn()
    assert film_of(await world.run(video, audio)).is_file()


@ONE_SHOT
@pytest.mark.parametrize(
    ("fail", "code"),
    [
        ("says-saved", "no_result"),
        ("saves-nothing", "no_result"),
        ("saves-old", "no_result"),
        ("saves-elsewhere", "no_result"),
        ("saves-garbage", "result_invalid"),
        ("saves-silently", "musetalk_failed"),
    ],
)
async def test_neither_its_word_nor_its_file_alone_is_success(
    world: World, tmp_path: Path, fail: str, code: str
):
    world.turn(fail=fail)
    with pytest.raises(HostFault) as caught:
        await world.run(*inputs(tmp_path / "in", 0.5))
    assert caught.value.code == code


@BOTH
async def test_a_film_without_a_face_is_the_jobs_fault(world: World, tmp_path: Path):
    with pytest.raises(InputFault) as caught:
        await world.run(*inputs(tmp_path / "in", 0.5, blanks=range(99)))
    assert caught.value.code == "no_face"


@BOTH
@pytest.mark.parametrize("where", ["video", "audio"])
async def test_inputs_that_are_none_are_named(world: World, tmp_path: Path, where: str):
    video, audio = inputs(tmp_path / "in", 0.5)
    bad = tmp_path / "bad"
    bad.write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(InputFault, match=f"{where}_url"):
        await world.run(bad if where == "video" else video, bad if where == "audio" else audio)


def files_called(name: str, below: Path) -> list[Path]:
    return list(below.rglob(name))


HOSTILE = 'it\'s $(touch hacked); "%08d"\n -rf'


@BOTH
@pytest.mark.parametrize("name", [HOSTILE, pytest.param("-rf", marks=SLOW)])
async def test_a_folder_with_a_hostile_name_does_no_harm(world: World, tmp_path: Path, name: str):
    """MuseTalk gives its paths to a shell; those it gets are ours, so at worst the operator chose such a folder."""
    made = await world.run(*inputs(tmp_path / "in", 0.5), folder=tmp_path / name / "job")
    assert film_of(made).is_file()
    assert not files_called("hacked", tmp_path)
    assert "command:" not in world.log or name not in world.log


@pytest.mark.parametrize(
    ("mode", "knobs"),
    [
        ("one-shot", {"fail": "hang"}),
        ("resident", {"frame_s": 0.3}),
        pytest.param("one-shot", {"frame_s": 0.3}, marks=SLOW),
        pytest.param("resident", {"fail": "hang"}, marks=SLOW),
    ],
)
@pytest.mark.slow
async def test_a_cancel_is_honoured_within_two_seconds(world: World, tmp_path: Path, knobs: dict):
    world.turn(**knobs)
    video, audio = inputs(tmp_path / "in", 3.0)
    task = asyncio.create_task(world.run(video, audio))
    stage = "finding the face" if knobs.get("fail") else "moving the lips"
    async with asyncio.timeout(60):
        while not any(step.message == stage for step in world.steps):
            await asyncio.sleep(0.02)
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    task.cancel()
    with Stopwatch() as took, pytest.raises(asyncio.CancelledError):
        await task
    assert took.seconds < 2.0
    assert before
    if world.mode == "one-shot":
        left = [one.cmdline() for one in psutil.Process().children(recursive=True) if one.is_running()]
        assert not [words for words in left if "scripts.inference" in words]
    world.turn()
    assert film_of(await world.run(video, audio)).is_file()


@SLOW
async def test_a_stall_is_noticed(tmp_path: Path):
    """A program that hangs says nothing new, so that the worker's own limit sees it."""
    async with world_of("one-shot", tmp_path, fail="hang") as world:
        task = asyncio.create_task(world.run(*inputs(tmp_path / "in", 0.5)))
        async with asyncio.timeout(60):
            while not any(step.message == "finding the face" for step in world.steps):
                await asyncio.sleep(0.05)
        told = -1
        async with asyncio.timeout(60):
            while told != len(world.steps):
                told = len(world.steps)
                await asyncio.sleep(1.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_sound_that_needs_converting_is_converted(tmp_path: Path):
    video, audio = inputs(tmp_path / "in", 1.0)
    stereo = tmp_path / "voice.mp3"
    run_ffmpeg(["-i", str(audio), "-ac", "2", "-ar", "44100", str(stereo)])
    async with world_of("resident", tmp_path) as world:
        film = require_video(film_of(await world.run(video, stereo)), "film")
    assert (film.sample_rate_hz, film.channels) == (44_100, 2)

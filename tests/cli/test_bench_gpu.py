"""`gpulease bench-gpu`, and the file that it writes."""

import json
from pathlib import Path

import pytest
from machine_cli import gpulease

from gpulease.contract.targets import Target, Targets
from worker_image.measure.bench import share_of
from worker_image.measure.materials import Missing, read_job

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOURCE = "somebody said so"


def row(engine: str = "csm", gpu_class: str = "H200", **more) -> Target:
    return Target(
        **{"engine": engine, "gpu_class": gpu_class, "service_s_p50": 36.0, "source": SOURCE, **more}
    )


def test_the_file_of_this_project_is_one():
    text = (ROOT / "gpu_targets.json").read_text(encoding="utf-8")
    found = Targets.model_validate_json(text)
    assert found.targets
    assert text == found.with_rows(()).model_dump_json(indent=2) + "\n", (
        "sorted, and written as bench-gpu does"
    )


def test_the_page_lists_every_field():
    page = (ROOT / "docs" / "gpu_targets.md").read_text(encoding="utf-8")
    fields = {*Target.model_fields, *Target.model_computed_fields}
    assert [name for name in fields if f"| `{name}` |" not in page] == []


def test_a_row_replaces_its_like_and_keeps_its_prices():
    old = Targets().with_rows([row("whisper"), row(usd_per_hour={"salad": 0.5}), row(gpu_class="cpu")])
    assert [one.key[:3] for one in old.targets] == [
        ("csm", "", "H200"),
        ("csm", "", "cpu"),
        ("whisper", "", "H200"),
    ]
    new = old.with_rows([row(service_s_p50=7.2)])
    assert len(new.targets) == 3
    assert new.targets[0].service_s_p50 == 7.2
    assert new.targets[0].usd_per_job == {"salad": 0.001}
    assert new.with_rows([row(usd_per_hour={"a": 1.0})]).targets[0].usd_per_hour == {"a": 1.0}


@pytest.mark.parametrize(("share", "is_"), [(0.5, 3.0), (0.95, 5.0), (0.0, 1.0), (1.0, 5.0)])
def test_shares_are_values_that_were_measured(share: float, is_: float):
    assert share_of([5.0, 1.0, 3.0, 2.0, 4.0], share) == is_
    assert share_of([1.5], share) == 1.5


def test_a_measured_engine_becomes_a_row(tmp_path: Path):
    kept = row("whisper", "RTX 4090")
    (tmp_path / "gpu_targets.json").write_text(Targets().with_rows([kept]).model_dump_json())
    prices = ("--usd-per-hour", "salad=0.36", "--usd-per-hour", "buffer=0")
    done = gpulease(
        tmp_path, "bench-gpu", "--engine", "csm", "--jobs", "2", *prices, "--json", libraries=("speech",)
    )
    assert done.returncode == 0, done.stderr
    (shown,) = [one for one in json.loads(done.stdout)["rows"] if one["backend"] == "hibari"]
    written = Targets.model_validate_json((tmp_path / "gpu_targets.json").read_bytes())
    assert kept in written.targets
    (made,) = [one for one in written.targets if one.backend == "hibari"]
    assert (made.engine, made.model, made.gpu_class, made.vram_gb, made.jobs) == (
        "csm",
        "hibari",
        "cpu",
        0.0,
        2,
    )
    assert made.service_s_p95 is not None
    assert 0 < made.service_s_p50 <= made.service_s_p95
    assert (made.peak_vram_mib, made.usd_per_hour) == (0.0, {"salad": 0.36, "buffer": 0.0})
    assert shown["usd_per_job"]["salad"] == pytest.approx(made.service_s_p50 / 10_000, abs=1e-8)
    assert made.peak_ram_mib is not None
    assert made.peak_ram_mib > 10
    assert list(tmp_path.iterdir()) == [tmp_path / "gpu_targets.json"]


def test_what_cannot_be_measured_says_why(tmp_path: Path):
    done = gpulease(tmp_path, "bench-gpu", "--engine", "comfyui")
    assert "GPULEASE_COMFYUI_URL" in done.stderr
    broken = {"libraries": ("speech",), "PYTHON_SPEECH_LOADS": "broken"}
    done = gpulease(tmp_path, "bench-gpu", "--engine", "csm", "--out", "none.json", **broken)
    assert done.returncode == 1
    assert "an illegal memory access" in done.stderr
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--engine", "toaster"), "toaster"),
        (("--usd-per-hour", "salad"), "NAME=VALUE"),
        (("--usd-per-hour", "salad=cheap"), "no number"),
        (("--usd-per-hour", "salad=nan"), "0 or more"),
        (("--out", "other.json"), "no gpu_targets.json"),
    ],
)
def test_a_wrong_question_changes_nothing(tmp_path: Path, arguments: tuple[str, ...], told: str):
    other = tmp_path / "other.json"
    other.write_text('{"targets": "many"}')
    done = gpulease(tmp_path, "bench-gpu", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert other.read_text() == '{"targets": "many"}'


def test_a_job_of_ones_own_names_files(tmp_path: Path):
    (tmp_path / "voice.wav").write_bytes(b"sound")
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"audio_url": "voice.wav", "language": "en"}))
    material = read_job("whisper", path)
    assert material.files == {"audio_url": tmp_path / "voice.wav"}
    job = material.job("whisper", None, tmp_path / "job")
    assert Path(job.files["audio_url"]).read_bytes() == b"sound"
    assert job.input["language"] == "en"
    assert job.input["audio_url"].startswith("https://")
    path.write_text(json.dumps({"workflow": {"1": {}}, "inputs": {"face": "voice.wav"}}))
    assert read_job("comfyui", path).files == {"inputs.face": tmp_path / "voice.wav"}
    path.write_text(json.dumps({"audio_url": "gone.wav"}))
    with pytest.raises(Missing, match=r"gone\.wav"):
        read_job("whisper", path)
    path.write_text("[")
    with pytest.raises(Missing):
        read_job("whisper", path)

"""Which Whisper models are offered: all seven sizes, if their folders are there."""

from pathlib import Path
from typing import get_args

import pytest

from gpulease.contract.engines import WhisperModel
from worker_image.engines.base import EngineConfig
from worker_image.engines.whisper_faster import FasterWhisper

SIZES = ("tiny", "base", "small", "medium", "large-v2", "large-v3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in SIZES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").touch()
    (tmp_path / "half-copied").mkdir()
    return tmp_path


def test_all_seven_sizes_are_offered_the_best_first(folder: Path):
    offer = FasterWhisper(EngineConfig(whisper_models=str(folder))).probe()
    assert offer.models[:7] == ("large-v3", "large-v2", "large", "medium", "small", "base", "tiny")
    assert set(offer.models) <= set(get_args(WhisperModel))
    assert offer.features == ("multilingual", "translate")


@pytest.mark.parametrize(("device", "vram_gb"), [("cuda", 5.0), ("cpu", 0.0), ("auto", 0.0)])
def test_what_the_largest_takes_is_told_for_a_gpu_only(folder: Path, device: str, vram_gb: float):
    offer = FasterWhisper(EngineConfig(whisper_models=str(folder), device=device)).probe()
    assert offer.vram_gb == vram_gb

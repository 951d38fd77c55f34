"""The emulators are used here by their bare names."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from comfyui_bench import Bench

from comfyui.server import ComfyServer


@pytest.fixture
async def comfy(tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path / "comfyui") as server:
        yield server


@pytest.fixture
def bench(comfy: ComfyServer, tmp_path: Path) -> Bench:
    return Bench(comfy, tmp_path)

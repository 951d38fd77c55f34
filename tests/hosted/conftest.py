"""The orchestrator as hosted agents see it."""

import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from agent_orchestrator import Emulator, running


@pytest.fixture
async def world() -> AsyncIterator[Emulator]:
    async with running(Emulator()) as emulator:
        yield emulator


@pytest.fixture
def stereo(tmp_path: Path) -> bytes:
    """Half a second on two channels."""
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"\0\1" * 24_000)
    return path.read_bytes()

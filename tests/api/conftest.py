"""Fixtures of the API tests."""

import asyncio
import sys
from pathlib import Path

import pytest
from api_world import settings, world

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))
from gpulease.cli.main import main
from loopback_server import LoopbackServer
from orchestrator.app import create_app

__all__ = ["gpulease", "settings", "world"]


@pytest.fixture
async def gpulease(world, monkeypatch, capsys):
    """Runs `gpulease …` against the world, on a socket, and returns what it said."""
    server = await LoopbackServer.start(create_app(world.orchestrator))
    monkeypatch.setenv("GPULEASE_URL", f"http://{server.address}")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GPULEASE_API_KEY", raising=False)

    async def run(*arguments, status=0):
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, arguments)
        said = capsys.readouterr()
        assert ended.value.code == status, said
        return said

    yield run
    await server.aclose()

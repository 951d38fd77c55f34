"""The README's tour, word for word, against a real server with real engines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpulease.cli.demo.leftovers import leftovers
from gpulease.cli.demo.process import DemoServer

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The tour")[2].partition("\n## ")[0]
WORDS = "The work is done and the machine is gone."


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TOUR, re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("tour-data")
    with DemoServer(data, {"GPULEASE_POLICY_IDLE_S": "60"}) as server:
        yield server
    assert leftovers(data) == []


@pytest.fixture(scope="module")
def shell(server, tmp_path_factory):
    """Runs one block in a folder that has a `.venv` like the project's own."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / ".venv" / "bin").mkdir(parents=True)
    program = folder / ".venv" / "bin" / "gpulease"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gpulease "$@"\n', encoding="utf-8")
    program.chmod(0o755)

    def run(*command):
        environment = os.environ | {"GPULEASE_URL": server.url}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{server.tail()}"
        return done.stdout

    return run


def test_the_tour(shell):
    up, commands, curl = blocks("sh")
    assert "gpulease up" in up
    assert WORDS in shell("bash", "-euc", commands)
    with_curl = shell("bash", "-euc", curl)
    assert "event: progress" in with_curl
    assert f'"text":"{WORDS}"' in with_curl
    (program,) = blocks("python")
    assert WORDS in shell(sys.executable, "-c", program)

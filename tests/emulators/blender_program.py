"""The real Blender, which carries out a test's script without a window."""

import shutil
import subprocess
from pathlib import Path

import pytest

BLENDER = shutil.which("blender")
needs_blender = pytest.mark.skipif(BLENDER is None, reason="the program blender is not installed")


def run_script(script: str, *arguments: str | Path) -> None:
    """`arguments` are the last of the script's `sys.argv`. An error in the script is one here."""
    argv = [BLENDER or "blender", "-b", "--factory-startup", "-noaudio", "--python-exit-code", "1"]
    tail = ("--", *map(str, arguments)) if arguments else ()
    subprocess.run([*argv, "--python-expr", script, *tail], check=True, capture_output=True, timeout=100)

"""`gpulease …` as a process of its own, with libraries in the place of those whose models take long."""

import os
import subprocess
import sys
from pathlib import Path

STAND_INS = Path(__file__).parents[1] / "stand_ins"


def gpulease(folder: Path, *arguments: str, libraries: tuple[str, ...] = (), **extra: str):
    """Runs it in the folder, without the caller's settings."""
    foreign = ("GPULEASE_", "COMFYUI_", "OLLAMA_", "MUSETALK_", "CUDA_")
    known = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = ":".join([*(str(STAND_INS / name) for name in libraries), known.get("PYTHONPATH", "")]).strip(":")
    own = {
        "PYTHONPATH": path,
        "COLUMNS": "200",
        "GPULEASE_URL": "http://127.0.0.1:9",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.run(
        [sys.executable, "-m", "gpulease", *arguments],
        env={**known, **own, **extra},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

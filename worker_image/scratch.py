"""The folder that everything of one worker process lies in, and that goes with it."""

import os
import shutil
from pathlib import Path
from uuid import uuid4

import psutil

_PREFIX = "run-"


def open_scratch(parent: Path) -> Path:
    """A fresh folder below `parent`; those that killed processes left there are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            shutil.rmtree(left, ignore_errors=True)
    scratch = parent / f"{_PREFIX}{os.getpid()}-{uuid4().hex[:8]}"
    scratch.mkdir(mode=0o700)
    return scratch


def close_scratch(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)

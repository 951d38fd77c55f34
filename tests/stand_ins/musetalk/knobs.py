"""How the stand-in is to behave, from a file in its checkout that may change between jobs, and what it counted."""

import json
import time
from pathlib import Path

KNOBS = Path("knobs.json")
COUNTS = Path("counts.txt")


def knob(name, default=None):
    return json.loads(KNOBS.read_text()).get(name, default) if KNOBS.exists() else default


def fails(how):
    return knob("fail") == how


def pause(name):
    time.sleep(float(knob(name, 0)))


def count(what):
    with COUNTS.open("a") as file:
        file.write(what + "\n")

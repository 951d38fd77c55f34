"""The parts of the demo that decide whether it succeeded."""

import subprocess
import sys
import time

from gpulease.cli.demo.leftovers import leftovers
from gpulease.cli.demo.process import _clean
from gpulease.cli.demo.story import words
from orchestrator.settings import Settings


def test_words_are_compared_without_case_and_punctuation():
    assert words("A machine, when it's Done.") == ["a", "machine", "when", "it's", "done"]
    assert words("A machine") != words("The machine")


def test_a_process_with_the_folder_in_its_environment_is_found_until_it_ends(tmp_path):
    program = "print('up', flush=True); import time; time.sleep(60)"
    left = subprocess.Popen(
        [sys.executable, "-c", program], env={"SCRATCH": str(tmp_path / "w1")}, stdout=subprocess.PIPE
    )
    try:
        left.stdout.readline()
        assert any(str(left.pid) in row for row in leftovers(tmp_path, within_s=0))
    finally:
        left.kill()
        left.communicate()
    began = time.monotonic()
    assert leftovers(tmp_path) == []
    assert time.monotonic() - began < 5


def test_the_demo_takes_none_of_the_callers_settings():
    """With the caller's key of a cloud it could lease there for real."""
    aliases = [one.validation_alias for one in Settings.model_fields.values()]
    names = [name for one in aliases if one for name in getattr(one, "choices", [one])]
    assert {"C3_API_KEY", "SALAD_API_KEY"} < set(names)
    assert _clean(dict.fromkeys((*names, "GPULEASE_PORT", "PATH"), "x")) == {"PATH": "x"}

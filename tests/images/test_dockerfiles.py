"""The container files: linted, and telling the truth about what they copy."""

import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("Dockerfile", "Dockerfile.worker")


@pytest.mark.parametrize("name", FILES)
def test_a_dockerfile_has_no_fault(name: str):
    hadolint = which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    found = subprocess.run(
        [hadolint, name], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_start_script_has_no_fault():
    shellcheck = which("shellcheck", path=str(Path(sys.executable).parent))
    assert shellcheck is not None
    found = subprocess.run(
        [shellcheck, "run_worker.sh", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_what_it_copies_is_there_and_not_ignored(name: str):
    text = (ROOT / name).read_text()
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(path == one or (one.endswith("*") and path.startswith(one[:-1])) for one in allowed), path


@pytest.mark.parametrize("name", FILES)
def test_it_does_not_run_as_root_and_says_whether_it_is_well(name: str):
    final = (ROOT / name).read_text().rpartition("useradd")[2]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", final, re.MULTILINE)
    assert "tini" in final

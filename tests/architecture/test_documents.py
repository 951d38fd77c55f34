"""What the documents promise is there: commands, settings, a reason for each dependency."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import AliasChoices
from typer.main import get_command

from gpulease.cli.main import app
from gpulease.contract.environment import ENGINE_SETTINGS
from orchestrator.settings import OTHER_PROGRAMS
from orchestrator.settings import Settings as OrchestratorSettings
from worker_image.settings import EngineSettings
from worker_image.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def code_blocks(text):
    return "\n".join(re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL))


def names_of(settings, prefix):
    """Every name by which the environment may set a field."""
    for field, info in settings.model_fields.items():
        match info.validation_alias:
            case AliasChoices(choices=choices):
                yield from (str(choice) for choice in choices)
            case str(alias):
                yield alias
            case _:
                yield prefix + field.upper()


UNLOCKED = {"video"}
"""Extras of machines with a GPU, whose driver says which torch they want."""


def dependencies(without=()):
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in extras.keys() - set(without))]
    return sorted({re.split(r"[<>=!~;\[ ]", one)[0] for group in groups for one in group})


def test_make_commands_of_the_readme_exist():
    asked = set(re.findall(r"^make ([a-z]+)", code_blocks(README), re.MULTILINE))
    assert {"demo", "test"} <= asked
    assert asked <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_programs_of_the_readme_exist():
    asked = set(re.findall(r"gpulease ([a-z]+)", code_blocks(README)))
    assert {"up", "run"} <= asked
    assert asked <= set(get_command(app).commands)


@pytest.mark.parametrize(
    ("settings", "prefix"), [(OrchestratorSettings, "GPULEASE_"), (WorkerSettings, "")], ids=["up", "worker"]
)
def test_every_setting_is_documented(settings, prefix):
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [one for one in names_of(settings, prefix) if f"`{one}`" not in page] == []


def test_what_engines_read_is_passed_on_to_local_workers():
    assert set(names_of(EngineSettings, "")) == set(ENGINE_SETTINGS)


def test_every_documented_setting_exists():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    known = {*names_of(OrchestratorSettings, "GPULEASE_"), *names_of(WorkerSettings, ""), *OTHER_PROGRAMS}
    assert set(re.findall(r"^\| `(GPULEASE_[A-Z_]+)`", page, re.MULTILINE)) <= known


def test_every_dependency_has_its_sentence():
    page = next((ROOT / "docs" / "decisions").glob("*-dependencies.md")).read_text(encoding="utf-8")
    assert [one for one in dependencies() if f"| {one} |" not in page] == []


def test_the_lock_holds_every_dependency_and_no_address():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert set(dependencies(without=UNLOCKED)) <= locked
    assert "://" not in lock


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_package_has_its_line_in_the_architecture():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {
        f"{path.parent.relative_to(ROOT)}/"
        for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert sorted(folder for folder in folders if f"`{folder}`" not in page) == []

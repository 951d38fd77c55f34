"""Sizes and names: a file has one job, a function fits a screen, a name says what it is."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gpulease", "orchestrator", "provider_clients", "scaling", "worker_image")
GENERATED = ("_pb2.py", "_pb2_grpc.py")
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not path.name.endswith(GENERATED)
)
EVERYTHING = SOURCES + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "bench").rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
FILES_MAX = 14
BANNED = {"utils", "util", "common", "helpers", "helper", "manager", "service", "misc"}


def name(path):
    return str(path.relative_to(ROOT))


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def lines(node):
    return node.end_lineno - node.lineno + 1


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 50


def test_no_file_is_too_long():
    sizes = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    assert {file: size for file, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_no_function_is_too_long():
    found = {
        f"{name(path)}: {node.name}": lines(node)
        for path in EVERYTHING
        for node in functions(path)
        if lines(node) > FUNCTION_LINES_MAX
    }
    assert found == {}


def test_most_functions_are_short():
    sizes = sorted(lines(node) for path in SOURCES for node in functions(path))
    assert sizes[len(sizes) // 2] <= 8
    assert sizes[len(sizes) * 9 // 10] <= 25


def test_no_folder_is_crowded():
    crowds = Counter(name(path.parent) for path in SOURCES if not path.name.startswith("__"))
    assert {folder: count for folder, count in crowds.items() if count > FILES_MAX} == {}


def test_names_say_what_a_file_does():
    found = [
        name(path)
        for path in EVERYTHING
        if BANNED
        & {word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.split("_")}
    ]
    assert found == []


def test_every_module_says_what_it_is_for():
    silent = [
        name(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "NotImplemented" + "Error", "pragma: " + "no cover"])
def test_nothing_is_left_for_later(word):
    if word in {"TODO", "FIXME"}:
        word = f"# {word}"
    assert [name(path) for path in EVERYTHING if word in path.read_text(encoding="utf-8")] == []


def test_tests_put_nothing_in_the_place_of_our_code():
    """The resolver of names is not ours, and cannot be had otherwise."""
    banned = re.compile(
        r"unittest\.mock|Magic[M]ock|mocker\.|monkeypatch\.setattr\((?!socket, \"getaddrinfo\")"
    )
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert [name(path) for path in tests if banned.search(path.read_text(encoding="utf-8"))] == []


def test_test_files_have_names_of_their_own():
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [file for file, count in names.items() if count > 1] == []

"""Decisions are functions of a picture: no clock, dice, network, log or await can slip into `scaling`."""

import ast
from pathlib import Path

import pytest

import scaling

ROOT = Path(scaling.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ALLOWED = {
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "scaling",
    "statistics",
    "typing",
}
"""What only computes. A module that looks at the world, or is not in the standard library, is not among them."""
SIMULATOR = {"contextlib", "csv", "json", "pathlib", "random"}
"""The simulator reads traces, writes logs and has seeded dice; its time is virtual, and it looks at no other world."""


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure(path):
    tree = ast.parse(path.read_text())
    allowed = ALLOWED | SIMULATOR if ROOT / "simulate" in path.parents else ALLOWED
    strangers = {name for name in imported(tree) if name.split(".")[0] not in allowed}
    assert strangers == set()
    impure = (ast.AsyncFunctionDef, ast.Await, ast.Global, ast.Nonlocal)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, impure)] == []
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"open", "print", "input", "exec", "eval", "__import__"})

"""One server for all suites, and the table of what they found: surface by case."""

import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "emulators"), str(HERE.parent / "e2e")]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    from server import Server  # noqa: PLC0415  It looks in the folders that this file names.

    with Server(tmp_path_factory.mktemp("conformance")) as running:
        yield running


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


def pytest_terminal_summary(terminalreporter):
    rows = [
        (*_named(report.nodeid), outcome)
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if "tests/conformance/" in report.nodeid and (report.when == "call" or outcome != "passed")
    ]
    if not rows:
        return
    terminalreporter.section("conformance")
    for surface, case, outcome in sorted(rows):
        terminalreporter.write_line(f"{surface:8} {outcome:8} {case}")
    counts = Counter((surface, outcome) for surface, _, outcome in rows)
    terminalreporter.write_line("")
    for (surface, outcome), count in sorted(counts.items()):
        terminalreporter.write_line(f"{surface:8} {outcome:8} {count}")


def _named(nodeid):
    """The surface and the case, in words."""
    file, _, test = nodeid.partition("::")
    surface = Path(file).stem.removeprefix("test_").split("_")[0]
    return surface, test.removeprefix("test_").replace("_", " ")

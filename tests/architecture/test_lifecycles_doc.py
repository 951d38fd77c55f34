"""docs/lifecycles.md is drawn from the transition tables; run this file by hand to draw it anew."""

from pathlib import Path

from scaling.states import ATTEMPT_MOVES, JOB_MOVES, WORKER_MOVES, AttemptState, JobState, WorkerState

PAGE = Path(__file__).parents[2] / "docs" / "lifecycles.md"
INTRO = """# Lifecycles

Drawn from the tables in `scaling/states.py`, which the Python code, the stores' `WHERE` clauses and the schema's
`CHECK`s all take their moves from. A test compares this page with them; after a change of a table,
`python tests/architecture/test_lifecycles_doc.py` draws it anew.

A state without a way out absorbs: whatever is reported later changes nothing. A leased worker begins as an intent; an
owner's machine reports for duty by itself, and so begins by starting.
"""
DIAGRAMS = (
    ("Job", JOB_MOVES, [JobState.QUEUED]),
    ("Attempt", ATTEMPT_MOVES, [AttemptState.RUNNING]),
    # An owner's machine is never intended: it reports for duty by itself.
    ("Worker", WORKER_MOVES, [WorkerState.INTENDED, WorkerState.STARTING]),
)


def diagram(title, moves, firsts):
    """A Mermaid state diagram, in the table's order."""
    states = type(firsts[0])
    lines = [f"## {title}", "", "```mermaid", "stateDiagram-v2", *(f"    [*] --> {one}" for one in firsts)]
    for before in states:
        after = [one for one in states if one in moves[before]]
        lines += [f"    {before} --> {one}" for one in after] or [f"    {before} --> [*]"]
    return "\n".join([*lines, "```", ""])


def rendered():
    return "\n".join([INTRO, *(diagram(*one) for one in DIAGRAMS)])


def test_the_page_equals_the_tables():
    assert PAGE.read_text() == rendered()


if __name__ == "__main__":
    PAGE.write_text(rendered())

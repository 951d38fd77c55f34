"""Every route, by every kind of caller, with their own and another's things; and docs/authorisation.md is this table.

Run by hand, it writes that page.
"""

from pathlib import Path

import httpx
import pytest
from api_world import World
from authorisation_rules import WHO, cell
from authorisation_table import SECTIONS
from authorisation_world import Callers, lenient_settings
from fastapi.routing import iter_route_contexts
from people_world import People

from orchestrator.app import Address, build, create_app
from orchestrator.clock import ManualClock
from orchestrator.keys import ROLES
from orchestrator.store.memory import MemoryStore

PAGE = Path(__file__).parents[2] / "docs" / "authorisation.md"
ROWS = [row for rows in SECTIONS.values() for row in rows]
INTRO = """# Who may call what

Written from the table in `tests/api/authorisation_table.py`; a test calls every route as every kind of caller, with
their own and with another's things, and holds this page equal to the table. After a change of it,
`python tests/api/test_authorisation_matrix.py` writes this page anew.

Roles are linear: an admin may what an operator may, and so on; a key's role may be weaker than its user's, and its
scopes may narrow it further. *yes*: the call goes through. *own, else 404*: with what is one's own, or a project's that
one is in; what one may not see does not exist. *own, else 403*: seen, and not to be changed. A number: the status.
A *worker key* is that of one worker, and opens what is that worker's. Files need no key but a URL that was signed.
"""


@pytest.fixture
async def people(tmp_path):
    settings, clock = lenient_settings(tmp_path), ManualClock(1_800_000_000.0)
    orchestrator = await build(settings, Address(settings, 80), MemoryStore(), clock, {})
    transport = httpx.ASGITransport(create_app(orchestrator), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield People(World(orchestrator, http, clock), http)


def routes_of(app):
    for route in iter_route_contexts(app.routes):
        methods = set(route.methods or ())
        for method in methods if methods == {"HEAD"} else methods - {"HEAD"}:
            yield f"{method} {route.path}"


def whose(row, who):
    """Their own things and another's, for who can have some and where there are any."""
    if row.rule.others is None:
        return (True,)
    return (True, False) if who in {*ROLES, row.rule.others} else (False,)


async def test_the_table_has_every_route_and_no_other(people):
    served, listed = sorted(routes_of(people.nobody._transport.app)), [row.route for row in ROWS]
    missing = [f"not in the table: {route}" for route in served if route not in listed]
    gone = [f"served by nobody: {route}" for route in listed if route not in served]
    assert not missing + gone, "\n".join(missing + gone)
    assert len(listed) == len(set(listed))


async def test_every_route_answers_everybody_as_the_table_says(people):
    other = await people.add("submitter")
    wrong = []
    for who in WHO:
        calling = Callers(people, await people.add(who) if who in ROLES else None, other)
        for row, own in [(one, own) for one in ROWS for own in whose(one, who)]:
            status = await calling.status(row, who, own=own)
            if status not in (expected := row.expects(who, own=own)):
                things = "own" if own else "another's"
                wrong.append(f"{who}: {row.route} with {things}: {status}, not {expected}")
    assert not wrong, "\n".join(wrong)


def rendered():
    return "\n".join([INTRO, *(_section(title, rows) for title, rows in SECTIONS.items())])


def _section(title, rows):
    lines = [f"## {title}", "", f"| route | {' | '.join(WHO)} |", f"|---|{'---|' * len(WHO)}"]
    lines += [f"| `{row.route}` | {' | '.join(cell(row.rule, who) for who in WHO)} |" for row in rows]
    return "\n".join([*lines, ""])


def test_the_page_equals_the_table():
    assert PAGE.read_text(encoding="utf-8") == rendered()


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")

"""/v1/audit: filtered, in pages, and exported whole."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from people_world import people_of

from orchestrator.store.people import By


@pytest.fixture
def people(world):
    return people_of(world)


async def some_changes(people, admin, count=5):
    """Users made at different times; the rows come in that order."""
    made = []
    for number in range(count):
        people.world.clock.advance(10)
        reply = await admin.http.post("/v1/users", json={"name": f"user {number}"})
        made.append(reply.json()["id"])
    return made


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def test_rows_are_filtered(people):
    admin, other = await people.add("admin"), await people.add("admin")
    start = people.world.clock.now()
    made = await some_changes(people, admin)
    await other.http.patch(f"/v1/users/{made[0]}", json={"role": "viewer"})

    async def targets(**which):
        items = (await admin.http.get("/v1/audit", params=which)).json()["items"]
        return [row["target"] for row in items]

    assert await targets() == [*made, made[0]]
    assert await targets(who=f"user:{other.id}") == [made[0]]
    assert await targets(what="user.add") == made
    assert await targets(target=made[0]) == [made[0], made[0]]
    assert await targets(since=at(start + 20), until=at(start + 40)) == made[1:3]
    assert await targets(what="nonesuch") == []


async def test_rows_come_in_pages_oldest_first(people):
    admin = await people.add("admin")
    made = await some_changes(people, admin, 7)
    seen, params = [], {"limit": 3}
    while page := (await admin.http.get("/v1/audit", params=params)).json():
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [row["target"] for row in seen] == made
    assert [row["id"] for row in seen] == sorted({row["id"] for row in seen})
    assert seen[0]["before"] is None
    assert seen[0]["after"]["name"] == "user 0"


@pytest.mark.parametrize(
    "asked", [{"params": {"format": "jsonl"}}, {"headers": {"Accept": "application/x-ndjson"}}]
)
async def test_all_are_exported_as_lines_of_json(people, asked):
    admin = await people.add("admin")
    store, now = people.world.orchestrator.parts.store, people.world.clock.now()
    by = By(f"user:{admin.id}")
    for number in range(1203):
        await store.record_audit("probe", str(number), by=by, now=now)
    reply = await admin.http.get("/v1/audit", **asked)
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    rows = [json.loads(line) for line in reply.text.splitlines()]
    assert [row["target"] for row in rows] == [str(number) for number in range(1203)]


async def test_all_are_exported_as_a_table_that_runs_no_formulas(people):
    admin = await people.add("admin")
    store, now = people.world.orchestrator.parts.store, people.world.clock.now()
    by = By(f"user:{admin.id}")
    await store.record_audit(
        "probe", "=HYPERLINK(1)", by=by, now=now, after={"text": 'a "quote",\r\nand more'}
    )
    await store.record_audit("probe", "plain, with a comma", by=by, now=now)
    reply = await admin.http.get("/v1/audit", params={"format": "csv", "what": "probe"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert "attachment" in reply.headers["content-disposition"]
    header, *rows = csv.reader(io.StringIO(reply.text, newline=""))
    assert header == ["id", "at", "who", "key_id", "origin", "what", "target", "before", "after"]
    assert [row[6] for row in rows] == ["'=HYPERLINK(1)", "plain, with a comma"]
    assert json.loads(rows[0][8]) == {"text": 'a "quote",\r\nand more'}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-01T00:00:00"}, "until"),
        ({"format": "xlsx"}, "format"),
        ({"cursor": "bm8="}, "cursor"),
        ({"cursor": "LTE="}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
    ],
)
async def test_bad_questions_are_refused_by_field(people, params, field):
    admin = await people.add("admin")
    refused = await admin.http.get("/v1/audit", params=params)
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["field"] == field


async def test_every_change_of_a_person_leaves_one_row(people):
    admin, ada = await people.add("admin"), await people.add("submitter")
    project = (await ada.http.post("/v1/projects", json={"name": "Film"})).json()["id"]
    members = f"/v1/projects/{project}/members/{admin.id}"
    await ada.http.patch(f"/v1/projects/{project}", json={"name": "Long film"})
    await ada.http.put(members, json={"right": "read"})
    await ada.http.delete(members)
    key = (await ada.http.post("/v1/keys", json={"name": "x"})).json()["id"]
    await ada.http.delete(f"/v1/keys/{key}")
    await ada.http.patch("/v1/me", json={"name": "Ada"})
    await admin.http.post("/v1/subscriptions", json={"name": "Small"})
    rows = (await admin.http.get("/v1/audit")).json()["items"]
    assert [(row["what"], row["target"]) for row in rows] == [
        ("project.add", project),
        ("project.change", project),
        ("member.put", project),
        ("member.remove", project),
        ("key.add", key),
        ("key.revoke", key),
        ("user.change", ada.id),
        ("subscription.put", "2"),
    ]
    assert {row["who"] for row in rows[:7]} == {f"user:{ada.id}"}
    assert {row["origin"] for row in rows} == {"203.0.113.9"}

"""/v1/users and /v1/me: who may do what, and the last admin stays."""

import asyncio

import pytest
from api_world import World
from people_world import people_of

from orchestrator.app import Address, build
from orchestrator.clock import ManualClock
from orchestrator.store.people import AuditFilter
from orchestrator.store.sqlite import open_sqlite


@pytest.fixture
def people(world):
    return people_of(world)


async def test_a_user_is_made_read_listed_and_changed(people):
    admin = await people.add("admin")
    asked = {"name": " Ada ", "email": "Ada@Example.com", "role": "operator"}
    made = await admin.http.post("/v1/users", json=asked)
    assert made.status_code == 201, made.text
    user = made.json()
    assert (user["name"], user["email"], user["role"], user["subscription"], user["active"]) == (
        "Ada",
        "ada@example.com",
        "operator",
        1,
        True,
    )
    assert made.headers["location"] == f"/v1/users/{user['id']}"
    assert (await admin.http.get(made.headers["location"])).json() == user
    listed = (await admin.http.get("/v1/users")).json()["items"]
    assert {one["id"] for one in listed} == {admin.id, user["id"]}
    found = await admin.http.get("/v1/users", params={"email": "ADA@example.com"})
    assert [one["id"] for one in found.json()["items"]] == [user["id"]]
    changed = await admin.http.patch(
        f"/v1/users/{user['id']}", json={"role": "viewer", "email": None, "active": False}
    )
    assert changed.json() == user | {"role": "viewer", "email": None, "active": False}


async def test_no_reply_and_no_audit_row_holds_a_password(people):
    admin = await people.add("admin")
    asked = {"name": "Ada", "email": "ada@example.com", "password": "a long enough secret"}
    made = await admin.http.post("/v1/users", json=asked)
    assert made.status_code == 201
    stored = await people.world.orchestrator.parts.store.find_user("ada@example.com")
    rows = await people.world.orchestrator.parts.store.list_audit(AuditFilter())
    assert stored.password_hash.startswith("$argon2id$")
    for text in (made.text, repr(rows)):
        assert "long enough" not in text
        assert "argon2" not in text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a", "role": "worker"}, "role"),
        ({"name": "a", "email": "nobody"}, "email"),
        ({"name": "a", "email": "a b@example.com"}, "email"),
        ({"name": "a", "password": "short"}, "password"),
        ({"name": "a", "subscription": 77}, "subscription"),
        ({"name": "a", "subscription": 2**60}, "subscription"),
        ({"name": "a", "admin": True}, "admin"),
    ],
)
async def test_bad_users_are_refused_by_field_and_none_is_made(people, body, field):
    admin = await people.add("admin")
    refused = await admin.http.post("/v1/users", json=body)
    assert refused.status_code == 422, refused.text
    assert field in {fault["field"] for fault in refused.json()["errors"]}
    assert len((await admin.http.get("/v1/users")).json()["items"]) == 1


async def test_an_email_is_one_users(people):
    admin = await people.add("admin")
    other = await people.add("viewer", email="ada@example.com")
    taken = await admin.http.post("/v1/users", json={"name": "a", "email": "ADA@example.com"})
    moved = await admin.http.patch(f"/v1/users/{admin.id}", json={"email": "ada@example.com"})
    assert (taken.status_code, moved.status_code) == (409, 409)
    assert (await admin.http.get(f"/v1/users/{other.id}")).json()["email"] == "ada@example.com"


@pytest.mark.parametrize("change", [{"role": "operator"}, {"active": False}])
async def test_the_last_active_admin_stays_one(people, change):
    admin = await people.add("admin")
    dormant = await people.add("admin")
    gone = await admin.http.patch(f"/v1/users/{dormant.id}", json={"active": False})
    assert gone.status_code == 200
    refused = await admin.http.patch(f"/v1/users/{admin.id}", json=change)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/last-admin")
    await admin.http.patch(f"/v1/users/{dormant.id}", json={"active": True})
    assert (await admin.http.patch(f"/v1/users/{admin.id}", json=change)).status_code == 200


async def test_admins_who_demote_each_other_at_once_leave_one(settings):
    """On a real database, where one change waits for another."""
    clock = ManualClock(1_800_000_000.0)
    store = await open_sqlite(settings.data / "people.db")
    orchestrator = await build(settings, Address(settings, 80), store, clock, {})
    people = people_of(World(orchestrator, None, clock))
    crowd = [await people.add("admin") for _ in range(4)]
    pairs = zip(crowd, [*crowd[1:], crowd[0]], strict=True)
    demoting = (one.http.patch(f"/v1/users/{other.id}", json={"role": "viewer"}) for one, other in pairs)
    statuses = {reply.status_code for reply in await asyncio.gather(*demoting)}
    assert [user.role for user in await store.list_users()].count("admin") >= 1
    assert statuses <= {200, 403, 409}
    await store.aclose()


async def test_a_deactivated_user_is_refused_at_once(people):
    admin, other = await people.add("admin"), await people.add("submitter")
    assert (await other.http.get("/v1/me")).status_code == 200
    await admin.http.patch(f"/v1/users/{other.id}", json={"active": False})
    assert (await other.http.get("/v1/me")).status_code == 401


async def test_users_come_in_pages(people):
    admin = await people.add("admin")
    made = {admin.id, *[(await people.add("viewer")).id for _ in range(6)]}
    seen, cursor = [], None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await admin.http.get("/v1/users", params=params)).json()
        assert len(page["items"]) <= 3
        seen += [one["id"] for one in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert (len(seen), set(seen)) == (len(made), made)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "W10=",
        "MTIz",
        "Ilx1ZDgwMCI=",
        "bnVsbA==",
        "é",
        "=" * 9,
        pytest.param("W1tb" * 12_000, id="deep"),
    ],
)
async def test_a_cursor_that_is_none_is_refused_by_name(people, cursor):
    admin = await people.add("admin")
    refused = await admin.http.get("/v1/users", params={"cursor": cursor})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "cursor"


async def test_what_admins_change_is_audited_with_who_and_from_where(people):
    admin, other = await people.add("admin"), await people.add("viewer")
    await admin.http.patch(f"/v1/users/{other.id}", json={"role": "operator"})
    row = await people.audit(target=other.id)
    assert (row.what, row.who, row.key_id, row.origin) == (
        "user.change",
        f"user:{admin.id}",
        admin.key.id,
        "203.0.113.9",
    )
    assert (row.before["role"], row.after["role"]) == ("viewer", "operator")


async def test_me_shows_the_user_and_what_the_key_may(people):
    admin = await people.add("admin", email="ada@example.com")
    weak = await people.another_key(admin.user, role="viewer", scopes=("people:read",))
    shown = (await weak.http.get("/v1/me")).json()
    assert (shown["id"], shown["email"], shown["role"]) == (admin.id, "ada@example.com", "admin")
    assert (shown["acts_as"], shown["scopes"], shown["key_id"]) == (
        "viewer",
        ["people:read"],
        weak.key.id,
    )
    assert (await weak.http.patch("/v1/me", json={"name": "Eve"})).status_code == 403


async def test_my_name_changes_and_nothing_else_does(people):
    viewer = await people.add("viewer")
    assert (await viewer.http.patch("/v1/me", json={"name": "Grace"})).json()["name"] == "Grace"
    for more in ({"role": "admin"}, {"subscription": 2}, {"active": True}, {"email": "a@example.com"}):
        refused = await viewer.http.patch("/v1/me", json=more)
        assert refused.status_code == 422, more
    assert (await viewer.http.get("/v1/me")).json()["role"] == "viewer"


async def test_a_password_changes_by_the_old_one(people):
    sessions = people.world.orchestrator.parts.access.sessions
    ada = await people.add("submitter", email="ada@example.com")
    first = await ada.http.patch("/v1/me", json={"new_password": "correct horse battery"})
    assert first.status_code == 200, first.text
    again = {"new_password": "another battery of it"}
    missing = await ada.http.patch("/v1/me", json=again)
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "old_password")
    wrong = await ada.http.patch("/v1/me", json=again | {"old_password": "guessed it, did I"})
    assert wrong.status_code == 403
    right = await ada.http.patch("/v1/me", json=again | {"old_password": "correct horse battery"})
    assert right.status_code == 200
    session = await sessions.login("ada@example.com", "another battery of it", "203.0.113.9")
    by_login = people.client(session.access)
    assert (await by_login.get("/v1/me")).json()["acts_as"] == "submitter"


@pytest.mark.parametrize("key", [{"role": "viewer"}, {"scopes": ("people:read", "people:write")}])
async def test_a_weak_key_gives_itself_no_login(people, key):
    admin = await people.add("admin", email="ada@example.com")
    weak = await people.another_key(admin.user, **key)
    refused = await weak.http.patch("/v1/me", json={"new_password": "correct horse battery"})
    assert refused.status_code == 403
    assert (await people.world.orchestrator.parts.store.get_user(admin.id)).password_hash is None


async def test_limits_show_what_is_allowed_and_what_is_used(people):
    admin, ada = await people.add("admin"), await people.add("submitter")
    quota = {"queued_max": 5, "running_max": 2, "usd_per_day_max": 1.5}
    made = await admin.http.post(
        "/v1/subscriptions", json={"name": "Small", "quota": quota, "requests_per_s": 50}
    )
    await admin.http.patch(f"/v1/users/{ada.id}", json={"subscription": made.json()["id"]})
    submitted = await ada.http.post("/v1/jobs", json={"engine": "csm", "input": {"text": "Hello."}})
    assert submitted.status_code == 202, submitted.text
    shown = (await ada.http.get("/v1/me/limits")).json()
    assert shown == {
        "subscription": "Small",
        "quota": quota,
        "requests_per_s": 50.0,
        "load": {"queued": 1, "running": 0},
        "usd_24h": 0.0,
    }
    agent = await people.world.agent()
    assert await agent.claim()
    people.world.clock.advance(100)
    shown = (await ada.http.get("/v1/me/limits")).json()
    assert shown["load"] == {"queued": 0, "running": 1}
    assert shown["usd_24h"] == pytest.approx(0.01)


async def test_without_keys_nobody_in_particular_calls(world):
    shown = (await world.http.get("/v1/me")).json()
    assert (shown["id"], shown["acts_as"], shown["key_id"]) == ("", "admin", None)
    assert (await world.http.patch("/v1/me", json={"name": "Ada"})).status_code == 409
    assert (await world.http.get("/v1/me/limits")).status_code == 200

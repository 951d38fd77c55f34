"""/v1/keys: shown once, no stronger than who makes them, rotated and revoked."""

from datetime import UTC, datetime

import pytest
from people_world import people_of

from orchestrator.store.people import AuditFilter

NOW = 1_800_000_000.0


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.fixture
def people(world):
    return people_of(world)


async def test_a_key_works_is_listed_and_never_shown_again(people):
    ada = await people.add("submitter")
    made = await ada.http.post("/v1/keys", json={"name": "laptop", "role": "viewer"})
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["key"]
    assert secret.startswith(made.json()["prefix"])
    shown = (await people.client(secret).get("/v1/me")).json()
    assert (shown["acts_as"], shown["key_id"]) == ("viewer", made.json()["id"])
    listed = await ada.http.get("/v1/keys")
    assert {key["name"] for key in listed.json()["items"]} == {"a key", "laptop"}
    rows = await people.world.orchestrator.parts.store.list_audit(AuditFilter())
    for text in (listed.text, repr(rows)):
        assert secret not in text
        assert '"hash"' not in text
        assert "'hash'" not in text


@pytest.mark.parametrize("role", ["operator", "admin"])
async def test_nobody_makes_a_key_stronger_than_themselves(people, role):
    ada = await people.add("submitter")
    refused = await ada.http.post("/v1/keys", json={"name": "more", "role": role})
    assert refused.status_code == 403
    assert len((await ada.http.get("/v1/keys")).json()["items"]) == 1


async def test_a_narrow_key_makes_keys_as_narrow(people):
    admin = await people.add("admin")
    narrow = await people.another_key(
        admin.user, role="submitter", scopes=("people:read", "people:write"), expires_at=NOW + 1000
    )
    wider = await narrow.http.post("/v1/keys", json={"name": "x", "scopes": ["people:read", "jobs:write"]})
    longer = await narrow.http.post("/v1/keys", json={"name": "x", "expires_at": at(NOW + 2000)})
    assert (wider.status_code, longer.status_code) == (403, 403)
    made = (await narrow.http.post("/v1/keys", json={"name": "x"})).json()
    assert (made["role"], made["scopes"]) == ("submitter", ["people:read", "people:write"])
    assert datetime.fromisoformat(made["expires_at"]).timestamp() == NOW + 1000


@pytest.mark.parametrize(
    ("verb", "weak"),
    [
        ("rotate", {"role": "viewer"}),
        ("rotate", {"scopes": ("people:read", "people:write")}),
        ("rotate", {"expires_at": NOW + 1000}),
        ("revoke", {"role": "viewer"}),
        ("revoke", {"scopes": ("people:read", "people:write")}),
    ],
    ids=["takes-role", "takes-scopes", "takes-time", "ends-role", "ends-scopes"],
)
async def test_a_weak_key_neither_takes_nor_ends_a_strong_one(people, verb, weak):
    admin = await people.add("admin")
    key = await people.another_key(admin.user, **weak)
    path = f"/v1/keys/{admin.key.id}"
    refused = await (key.http.post(f"{path}/rotate") if verb == "rotate" else key.http.delete(path))
    assert refused.status_code == 403
    assert (await admin.http.get("/v1/me")).status_code == 200


async def test_a_key_that_expired_is_refused(people):
    ada = await people.add("submitter")
    made = await ada.http.post("/v1/keys", json={"name": "x", "expires_at": at(NOW + 60)})
    client = people.client(made.json()["key"])
    assert (await client.get("/v1/me")).status_code == 200
    people.world.clock.advance(61)
    assert (await client.get("/v1/me")).status_code == 401


async def test_a_rotated_key_goes_on_for_its_grace(people):
    ada = await people.add("submitter")
    made = await ada.http.post(f"/v1/keys/{ada.key.id}/rotate", params={"grace_s": 60})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    fresh = people.client(made.json()["key"])
    assert made.json()["name"] == ada.key.name
    assert [(await one.get("/v1/me")).status_code for one in (ada.http, fresh)] == [200, 200]
    people.world.clock.advance(61)
    assert [(await one.get("/v1/me")).status_code for one in (ada.http, fresh)] == [401, 200]
    assert (await fresh.post(f"/v1/keys/{ada.key.id}/rotate")).status_code == 409


async def test_a_revoked_key_is_refused_at_once_and_stays_listed(people):
    ada = await people.add("submitter")
    other = await people.another_key(ada.user)
    assert (await ada.http.delete(f"/v1/keys/{other.key.id}")).status_code == 204
    assert (await other.http.get("/v1/me")).status_code == 401
    assert (await ada.http.delete(f"/v1/keys/{other.key.id}")).status_code == 204
    listed = {key["id"]: key for key in (await ada.http.get("/v1/keys")).json()["items"]}
    assert listed[other.key.id]["revoked_at"]
    row = await people.audit(what="key.revoke")
    assert (row.target, row.who) == (other.key.id, f"user:{ada.id}")


async def test_others_keys_are_for_admins(people):
    admin, operator, ada = [await people.add(role) for role in ("admin", "operator", "submitter")]
    theirs = {"user": ada.id}
    assert (await operator.http.get("/v1/keys", params=theirs)).status_code == 403
    assert (await operator.http.post("/v1/keys", params=theirs, json={"name": "x"})).status_code == 403
    assert (await operator.http.post(f"/v1/keys/{ada.key.id}/rotate")).status_code == 404
    assert (await operator.http.delete(f"/v1/keys/{ada.key.id}")).status_code == 404
    listed = (await admin.http.get("/v1/keys", params=theirs)).json()["items"]
    assert [key["id"] for key in listed] == [ada.key.id]
    made = await admin.http.post("/v1/keys", params=theirs, json={"name": "x"})
    assert (made.json()["user"], made.json()["role"]) == (ada.id, "submitter")
    stronger = await admin.http.post("/v1/keys", params=theirs, json={"name": "x", "role": "operator"})
    assert (stronger.status_code, stronger.json()["errors"][0]["field"]) == (422, "role")
    assert (await admin.http.get("/v1/keys", params={"user": "nonesuch"})).status_code == 404
    assert (await admin.http.delete(f"/v1/keys/{ada.key.id}")).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "role": "worker"}, "role"),
        ({"name": "x", "scopes": ["jobs:everything"]}, "scopes"),
        ({"name": "x", "expires_at": at(NOW - 1)}, "expires_at"),
        ({"name": "x", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "secret": "chosen-by-myself-here"}, "secret"),
    ],
)
async def test_bad_keys_are_refused_by_field(people, body, field):
    ada = await people.add("submitter")
    refused = await ada.http.post("/v1/keys", json=body)
    assert refused.status_code == 422, refused.text
    assert field in {fault["field"] for fault in refused.json()["errors"]}


async def test_the_first_key_is_an_admins(world):
    nobodys = await world.http.post("/v1/keys", json={"name": "x"})
    assert (nobodys.status_code, nobodys.json()["errors"][0]["field"]) == (422, "user")
    ids = {}
    for role in ("submitter", "admin"):
        made = await world.http.post("/v1/users", json={"name": role, "role": role})
        ids[role] = made.json()["id"]
    early = await world.http.post("/v1/keys", params={"user": ids["submitter"]}, json={"name": "x"})
    assert (early.status_code, early.json()["type"]) == (409, "/problems/first-key")
    weak = await world.http.post(
        "/v1/keys", params={"user": ids["admin"]}, json={"name": "x", "role": "viewer"}
    )
    assert weak.status_code == 409
    first = await world.http.post("/v1/keys", params={"user": ids["admin"]}, json={"name": "x"})
    assert (first.status_code, first.json()["role"]) == (201, "admin")
    assert (await world.http.get("/v1/me")).status_code == 401


async def test_a_user_has_so_many_keys_and_no_more(people):
    ada = await people.add("submitter")
    for _ in range(99):
        await people.another_key(ada.user)
    refused = await ada.http.post("/v1/keys", json={"name": "one more"})
    assert refused.status_code == 409
    assert (await ada.http.delete(f"/v1/keys/{ada.key.id}")).status_code == 204

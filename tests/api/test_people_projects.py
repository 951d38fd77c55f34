"""/v1/projects and /v1/subscriptions: what is shared, with whom, and how much anybody may have."""

import pytest
from people_world import people_of

JOB = {"engine": "csm", "input": {"text": "Hello there."}}


@pytest.fixture
def people(world):
    return people_of(world)


async def new_project(someone, **body):
    made = await someone.http.post("/v1/projects", json={"name": "Film", **body})
    assert made.status_code == 201, made.text
    return made.json()


async def let_in(owner, project, someone, right="read"):
    path = f"/v1/projects/{project['id']}/members/{someone.id}"
    reply = await owner.http.put(path, json={"right": right})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_project_is_its_owners_to_change(people):
    ada = await people.add("submitter")
    project = await new_project(ada, data={"shot": 7})
    assert (project["owner"], project["data"]) == (ada.id, {"shot": 7})
    path = f"/v1/projects/{project['id']}"
    changed = (await ada.http.patch(path, json={"name": "Long film", "data": {"shot": 8}})).json()
    assert changed == project | {"name": "Long film", "data": {"shot": 8}}
    assert (await ada.http.get(path)).json() == changed
    assert (await ada.http.patch(path, json={})).json() == changed
    members = (await ada.http.get(f"{path}/members")).json()["items"]
    assert members == [{"user": ada.id, "name": "a submitter", "right": "write"}]


async def test_who_is_in_no_project_sees_none(people):
    ada, eve = await people.add("submitter"), await people.add("submitter")
    path = f"/v1/projects/{(await new_project(ada))['id']}"
    assert (await eve.http.get("/v1/projects")).json()["items"] == []
    replies = [
        await eve.http.get(path),
        await eve.http.patch(path, json={"name": "Mine"}),
        await eve.http.get(f"{path}/members"),
        await eve.http.put(f"{path}/members/{eve.id}", json={"right": "write"}),
        await eve.http.delete(f"{path}/members/{ada.id}"),
    ]
    assert [reply.status_code for reply in replies] == [404] * 5
    into = await eve.http.post("/v1/jobs", json=JOB | {"project": path.rpartition("/")[2]})
    assert (into.status_code, into.json()["errors"][0]["field"]) == (422, "project")


async def test_members_see_the_jobs_and_writers_cancel_them(people):
    ada, bob, eve = [await people.add("submitter") for _ in range(3)]
    project = await new_project(ada)
    job = (await ada.http.post("/v1/jobs", json=JOB | {"project": project["id"]})).json()
    path = f"/v1/jobs/{job['id']}"
    await let_in(ada, project, bob)
    assert (await bob.http.get(path)).json()["project"] == project["id"]
    assert (await bob.http.post(f"{path}/cancel")).status_code == 403
    assert (await eve.http.get(path)).status_code == 404
    await let_in(ada, project, bob, "write")
    assert (await bob.http.post(f"{path}/cancel")).status_code == 200
    assert (await bob.http.post("/v1/jobs", json=JOB | {"project": project["id"]})).status_code == 202
    assert (await ada.http.delete(f"/v1/projects/{project['id']}/members/{bob.id}")).status_code == 204
    assert (await bob.http.get(path)).status_code == 404


async def test_members_who_do_not_own_it_only_look(people):
    ada, bob, operator = (
        await people.add("submitter"),
        await people.add("submitter"),
        await people.add("operator"),
    )
    project = await new_project(ada)
    await let_in(ada, project, bob, "write")
    path = f"/v1/projects/{project['id']}"
    for someone in (bob, operator):
        assert (await someone.http.get(path)).status_code == 200
        assert (await someone.http.patch(path, json={"name": "Mine"})).status_code == 403
        put = await someone.http.put(f"{path}/members/{someone.id}", json={"right": "write"})
        assert put.status_code == 403
        assert (await someone.http.delete(f"{path}/members/{bob.id}")).status_code == 403


async def test_the_owner_stays_a_member_who_writes(people):
    ada = await people.add("submitter")
    project = await new_project(ada)
    path = f"/v1/projects/{project['id']}/members/{ada.id}"
    assert (await ada.http.put(path, json={"right": "read"})).status_code == 409
    assert (await ada.http.delete(path)).status_code == 409
    missing = f"/v1/projects/{project['id']}/members/nonesuch"
    assert (await ada.http.put(missing, json={"right": "read"})).status_code == 404
    assert (await ada.http.delete(missing)).status_code == 404


async def test_quotas_of_projects_are_set_by_admins(people):
    admin, ada = await people.add("admin"), await people.add("submitter")
    quota = {"queued_max": 3, "running_max": None, "usd_per_day_max": None}
    assert (await ada.http.post("/v1/projects", json={"name": "x", "quota": quota})).status_code == 403
    project = await new_project(ada)
    path = f"/v1/projects/{project['id']}"
    assert (await ada.http.patch(path, json={"quota": quota})).status_code == 403
    assert (await ada.http.get(path)).json()["quota"]["queued_max"] is None
    assert (await admin.http.patch(path, json={"quota": quota})).json()["quota"] == quota
    row = await people.audit(what="project.change")
    assert (row.target, row.who, row.after["quota"]["queued_max"]) == (project["id"], f"user:{admin.id}", 3)


async def test_viewers_make_no_projects_and_may_be_in_them(people):
    ada, viewer = await people.add("submitter"), await people.add("viewer")
    assert (await viewer.http.post("/v1/projects", json={"name": "x"})).status_code == 403
    project = await new_project(ada)
    await let_in(ada, project, viewer, "write")
    assert [one["id"] for one in (await viewer.http.get("/v1/projects")).json()["items"]] == [project["id"]]
    assert (await viewer.http.post("/v1/jobs", json=JOB | {"project": project["id"]})).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "data": []}, "data"),
        ({"name": "x", "data": {"big": "x" * 70_000}}, "data"),
        ({"name": "x", "owner": "me"}, "owner"),
        ({"name": "x", "quota": {"queued_max": -1}}, "quota.queued_max"),
        ({"name": "x", "quota": {"usd_per_day_max": "lots"}}, "quota.usd_per_day_max"),
    ],
)
async def test_bad_projects_are_refused_by_field(people, body, field):
    admin = await people.add("admin")
    refused = await admin.http.post("/v1/projects", json=body)
    assert refused.status_code == 422, refused.text
    assert field in {fault["field"] for fault in refused.json()["errors"]}
    assert (await admin.http.get("/v1/projects")).json()["items"] == []


async def test_projects_and_members_come_in_pages(people):
    ada = await people.add("submitter")
    made = [(await new_project(ada))["id"] for _ in range(5)]
    project = {"id": made[0]}
    for _ in range(4):
        await let_in(ada, project, await people.add("viewer"))
    for path, count in (("/v1/projects", 5), (f"/v1/projects/{made[0]}/members", 5)):
        seen, params = [], {"limit": 2}
        while page := (await ada.http.get(path, params=params)).json():
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert len(seen) == count
        assert len({one.get("id") or one["user"] for one in seen}) == count


async def test_subscriptions_are_made_listed_and_replaced(people):
    admin = await people.add("admin")
    (first,) = (await admin.http.get("/v1/subscriptions")).json()["items"]
    assert (first["id"], first["name"], first["quota"]["queued_max"]) == (1, "Default", None)
    made = await admin.http.post("/v1/subscriptions", json={"name": "Small", "quota": {"queued_max": 10}})
    assert (made.status_code, made.json()["id"]) == (201, 2)
    path = "/v1/subscriptions/2"
    changed = await admin.http.put(
        path, json={"name": "Tiny", "quota": {"queued_max": 1}, "requests_per_s": 2}
    )
    assert (changed.json()["name"], changed.json()["quota"]["queued_max"]) == ("Tiny", 1)
    assert [one["name"] for one in (await admin.http.get("/v1/subscriptions")).json()["items"]] == [
        "Default",
        "Tiny",
    ]
    assert (await admin.http.put("/v1/subscriptions/99", json={"name": "x"})).status_code == 404
    assert (await admin.http.post("/v1/subscriptions", json={"name": "Tiny"})).status_code == 409
    assert (await admin.http.put(path, json={"name": "Default"})).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "requests_per_s": 0}, "requests_per_s"),
        ({"name": "x", "quota": {"running_max": 1.5}}, "quota.running_max"),
        ({"name": "x", "quota": {"usd_per_day_max": -0.1}}, "quota.usd_per_day_max"),
        ({"name": "x", "quota": {"gpus": 1}}, "quota.gpus"),
    ],
)
async def test_bad_subscriptions_are_refused_by_field(people, body, field):
    admin = await people.add("admin")
    refused = await admin.http.post("/v1/subscriptions", json=body)
    assert refused.status_code == 422
    assert field in {fault["field"] for fault in refused.json()["errors"]}

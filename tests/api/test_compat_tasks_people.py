"""The render task surface: accounts and projects."""

import pytest
from people_world import people_of
from pydantic import SecretStr
from tasks_world import ok, refused

EMAIL, PASSWORD = "ada@example.com", "a long enough password"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"register_auth_code": SecretStr("join us")})


@pytest.fixture
def people(world):
    return people_of(world)


async def test_who_registers_may_log_in_refresh_and_ask_who_they_are(people):
    form = {"email": EMAIL, "password": PASSWORD, "nickname": "Ada", "authcode": "join us"}
    made = await ok(people.nobody.post("/auth/register", json=form))
    login = await ok(
        people.nobody.post("/auth/login", json={"email": "ADA@example.com", "password": PASSWORD})
    )
    again = await ok(people.nobody.post("/auth/login", json={"username": EMAIL, "password": PASSWORD}))
    assert made["uid"] == login["uid"] == again["uid"]
    assert (login["email"], login["nickname"], login["role"]) == (EMAIL, "Ada", "submitter")
    info = await ok(people.client(login["access_token"]).get("/auth/user/info"))
    assert (info["userId"], info["email"]) == (made["uid"], EMAIL)
    for token in (login["refresh_token"], login["access_token"]):
        fresh = await ok(people.client(token).get("/auth/refreshToken"))
        assert await ok(people.client(fresh["access_token"]).get("/auth/user/info")) == info
    by_post = await ok(people.client(login["refresh_token"]).post("/auth/refreshToken"))
    assert by_post["uid"] == made["uid"]
    assert (
        await ok(people.client(login["access_token"]).get("/api/get_user", params={"uid": made["uid"]}))
        == info
    )


async def test_wrong_codes_passwords_and_tokens_are_refused(people):
    await people.add("admin")
    form = {"email": EMAIL, "password": PASSWORD, "nickname": "Ada", "authcode": "let me in"}
    await refused(people.nobody.post("/auth/register", json=form), 403)
    await refused(people.nobody.post("/auth/register", json={**form, "authcode": None}), 403)
    await ok(people.nobody.post("/auth/register", json={**form, "authcode": "join us"}))
    await refused(people.nobody.post("/auth/register", json={**form, "authcode": "join us"}), 409)
    await refused(people.nobody.post("/auth/login", json={"email": EMAIL, "password": "wrong"}), 401)
    assert "email" in await refused(people.nobody.post("/auth/login", json={"password": PASSWORD}), 422)
    await refused(people.nobody.get("/auth/refreshToken"), 401)
    await refused(people.client("ey.no.token").get("/auth/refreshToken"), 401)
    await refused(people.nobody.get("/auth/user/info"), 401)


async def test_only_admins_ask_who_others_are(people):
    ada, eve, boss = [await people.add(role) for role in ("submitter", "operator", "admin")]
    await refused(eve.http.get("/api/get_user", params={"uid": ada.id}), 404)
    assert (await ok(boss.http.get("/api/get_user", params={"uid": ada.id})))["uid"] == ada.id
    await refused(boss.http.get("/api/get_user", params={"uid": "nobody"}), 404)


async def test_a_project_is_made_shown_and_listed(people):
    ada, eve = await people.add("submitter"), await people.add("submitter")
    body = {"projectId": "p-1", "name": "Kitchen", "model": "car", "assignee": "Bob"}
    made = await ok(ada.http.post("/api/project/create", json=body))
    assert {name: made[name] for name in body} == body
    await ok(ada.http.post("/api/project/create", json={"name": "Another"}))
    listed = await ok(ada.http.get("/api/project/list", params={"take": 1}))
    assert (listed["total"], len(listed["projects"])) == (2, 1)
    assert (await ok(ada.http.get("/api/project/detail/p-1")))["Task"] == []
    assert (await ok(eve.http.get("/api/project/list")))["total"] == 0
    await refused(eve.http.get("/api/project/detail/p-1"), 404)
    await refused(eve.http.post("/api/project/create", json={"projectId": "p-1"}), 409)
    await refused(eve.http.post("/api/project/create", json={"projectId": "../p"}), 422)
    await refused(eve.http.post("/api/project/create", json={"callbackUrl": "file:///etc"}), 422)

"""/v1/assets: what comes in is looked through, kept in versions, seen by those whose it is, and used by jobs."""

import io
import sys
import zipfile
from pathlib import Path

import pytest
from people_world import people_of

sys.path.insert(0, str(Path(__file__).parents[1] / "orchestrator"))
from blend_files import lying_block, small_blend

BLENDER = {"engine": "blender", "backend": "test", "models": []}
OBJ = b"v 0 0 0\nusemtl Oak\n"


@pytest.fixture
def people(world):
    return people_of(world)


async def put(someone, raw=None, name="car", status=201, **query):
    content = small_blend() if raw is None else raw
    reply = await someone.http.post("/v1/assets", params={"name": name, **query}, content=content)
    assert reply.status_code == status, reply.text
    return reply.json()


async def project_of(someone, *members, right="read"):
    project = (await someone.http.post("/v1/projects", json={"name": "Film"})).json()["id"]
    for member in members:
        path = f"/v1/projects/{project}/members/{member.id}"
        assert (await someone.http.put(path, json={"right": right})).status_code == 200
    return project


async def listed(someone, **query):
    return [one["name"] for one in (await someone.http.get("/v1/assets", params=query)).json()["items"]]


async def test_a_model_comes_in_and_says_what_it_holds(people):
    ada = await people.add("submitter")
    reply = await ada.http.post("/v1/assets", params={"name": "car"}, content=small_blend(("Red", "Blue")))
    asset = reply.json()
    assert reply.headers["Location"] == f"/v1/assets/{asset['id']}"
    assert (asset["kind"], asset["owner"], asset["project"]) == ("blend", ada.id, None)
    latest = asset["latest"]
    assert (latest["number"], latest["url"]) == (1, f"asset://{asset['id']}@1")
    assert (latest["metadata"]["materials"], latest["metadata"]["cameras"]) == (["Blue", "Red"], ["Front"])
    assert (await ada.http.get(f"/v1/assets/{asset['id']}")).json() == asset
    row = await people.audit(target=asset["id"])
    assert row.who == f"user:{ada.id}"


async def test_the_same_name_again_is_the_next_version(people):
    ada = await people.add("submitter")
    first = await put(ada)
    second = await put(ada, small_blend(("Green",)))
    path = f"/v1/assets/{first['id']}"
    third = (await ada.http.post(f"{path}/versions", content=small_blend(("Gold",)))).json()
    assert (second["id"], second["latest"]["number"], third["number"]) == (first["id"], 2, 3)
    page = (await ada.http.get(f"{path}/versions", params={"limit": 2})).json()
    rest = (await ada.http.get(f"{path}/versions", params={"cursor": page["next_cursor"]})).json()
    assert [one["number"] for one in page["items"] + rest["items"]] == [1, 2, 3]
    assert rest["next_cursor"] is None
    link = (await ada.http.get(f"{path}/versions/2/download")).json()
    assert (await people.nobody.get(link["url"])).content == small_blend(("Green",))
    assert (await ada.http.get(f"{path}/versions/4/download")).status_code == 404


async def test_a_file_that_was_sent_before_may_be_named(people):
    ada = await people.add("submitter")
    sent = (await ada.http.post("/v1/uploads", content=small_blend())).json()["url"]
    asset = await put(ada, b"", upload=sent)
    assert asset["latest"]["metadata"]["materials"] == ["Red"]


async def test_a_form_is_refused_with_the_way_to_send_it(people):
    ada = await people.add("submitter")
    form = {"file": ("car.blend", small_blend())}
    reply = await ada.http.post("/v1/assets", params={"name": "car"}, files=form)
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "file")


async def test_somebody_elses_upload_is_not_there(people):
    ada, eve = await people.add("submitter"), await people.add("submitter")
    sent = (await ada.http.post("/v1/uploads", content=small_blend())).json()["url"]
    await put(eve, b"", upload=sent, status=404)


@pytest.mark.parametrize(
    ("raw", "query", "field", "said"),
    [
        (b"", {}, "file", "empty"),
        (b"no model", {}, "file", "it is no .blend"),
        (small_blend()[:200], {}, "file", "it ends within"),
        (lying_block(2**31 - 1), {}, "file", "2147483647"),
        (None, {"name": "a@b"}, "name", ""),
        (None, {"name": ""}, "name", ""),
        (None, {"project": "nonesuch"}, "project", "no project"),
        (None, {"projcet": "p"}, "projcet", ""),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_kept(people, raw, query, field, said):
    ada = await people.add("submitter")
    problem = await put(ada, raw, status=422, **{"name": "car", **query})
    assert [one["field"] for one in problem["errors"]] == [field]
    assert said in problem["errors"][0]["message"]
    assert await listed(ada) == []
    assert not list((people.world.orchestrator.parts.settings.data / "storage" / "assets").glob("*/*"))


async def test_what_is_too_large_is_refused(people):
    ada = await people.add("submitter")
    library = people.world.orchestrator.parts.settings
    raw = b"x" * (library.upload_bytes_max + 1)
    await put(ada, raw, status=413)


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"upload_bytes_max": 100_000})


async def test_an_asset_stays_of_its_kind(people):
    ada = await people.add("submitter")
    await put(ada)
    problem = await put(ada, OBJ, file="car.obj", status=422)
    assert "kind blend" in problem["errors"][0]["message"]


async def test_own_models_are_nobody_elses(people):
    ada, eve, boss = [await people.add(role) for role in ("submitter", "submitter", "operator")]
    asset = await put(ada)
    await put(eve, small_blend(("Evil",)))
    path = f"/v1/assets/{asset['id']}"
    replies = [
        await eve.http.get(path),
        await eve.http.get(f"{path}/versions"),
        await eve.http.get(f"{path}/versions/1/download"),
        await eve.http.post(f"{path}/versions", content=small_blend()),
        await eve.http.delete(path),
    ]
    assert [reply.status_code for reply in replies] == [404] * 5
    assert (await listed(ada), await listed(boss)) == (["car"], ["car", "car"])
    assert (await boss.http.get(path)).status_code == 200
    assert (await people.nobody.get(path)).status_code == 401


async def test_members_of_a_project_read_and_writers_write(people):
    ada, bob, eve = [await people.add("submitter") for _ in range(3)]
    project = await project_of(ada, bob)
    asset = await put(ada, project=project)
    path = f"/v1/assets/{asset['id']}"
    assert await listed(bob, project=project) == ["car"]
    assert (await bob.http.get(path)).json()["project"] == project
    assert (await bob.http.delete(path)).status_code == 403
    await put(bob, project=project, status=422)
    assert (await listed(eve), await listed(eve, project=project)) == ([], [])
    assert (await eve.http.get(path)).status_code == 404
    let = await ada.http.put(f"/v1/projects/{project}/members/{bob.id}", json={"right": "write"})
    assert let.status_code == 200
    assert (await put(bob, project=project))["latest"]["number"] == 2
    assert (await bob.http.delete(path)).status_code == 204
    assert await listed(ada) == []


async def test_a_list_of_a_project_has_only_that(people):
    ada = await people.add("submitter")
    one, two = await project_of(ada), await project_of(ada)
    await put(ada, name="own")
    await put(ada, name="first", project=one)
    await put(ada, name="second", project=two)
    assert sorted(await listed(ada)) == ["first", "own", "second"]
    assert await listed(ada, project=one) == ["first"]
    pages, cursor = [], None
    while True:
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await ada.http.get("/v1/assets", params=query)).json()
        pages += [row["name"] for row in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(pages) == ["first", "own", "second"]


async def test_a_removed_asset_takes_its_files_along(people):
    ada = await people.add("submitter")
    asset = await put(ada)
    files = people.world.orchestrator.parts.settings.data / "storage" / "assets"
    assert len(list(files.glob("*/*"))) == 1
    assert (await ada.http.delete(f"/v1/assets/{asset['id']}")).status_code == 204
    assert (await ada.http.get(f"/v1/assets/{asset['id']}")).status_code == 404
    assert not list(files.glob("*/*"))


async def test_viewers_look_and_change_nothing(people):
    ada, vera = await people.add("submitter"), await people.add("viewer")
    project = await project_of(ada, vera, right="write")
    asset = await put(ada, project=project)
    assert (await vera.http.get(f"/v1/assets/{asset['id']}")).status_code == 200
    await put(vera, project=project, status=403)
    assert (await vera.http.delete(f"/v1/assets/{asset['id']}")).status_code == 403


async def submit(someone, url, status=202):
    job = {"engine": "blender", "input": {"file_url": url}}
    reply = await someone.http.post("/v1/jobs", json=job)
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_a_job_is_given_the_file_of_the_version_it_names(people):
    ada = await people.add("submitter")
    url = (await put(ada))["latest"]["url"]
    await put(ada, small_blend(("Later",)))
    await submit(ada, url)
    agent = await people.world.agent(BLENDER)
    assigned = await agent.claim()
    assert assigned["input"]["file_url"] == url
    fetched = await people.nobody.get(assigned["inputs"]["file_url"])
    assert fetched.content == small_blend()


async def test_a_job_may_name_only_what_is_there_for_its_owner(people):
    ada, eve = await people.add("submitter"), await people.add("submitter")
    asset = await put(ada)
    table = await put(ada, OBJ, name="table.obj")
    for someone, url in [
        (eve, asset["latest"]["url"]),
        (ada, f"asset://{asset['id']}@2"),
        (ada, f"asset://{asset['id']}"),
        (ada, "asset://nonesuch@1"),
        (ada, "asset://../../gpulease.db@1"),
    ]:
        problem = await submit(someone, url, status=422)
        assert problem["errors"][0]["message"].startswith("there is no such version of an asset")
    assert "only .blend files" in str(await submit(ada, table["latest"]["url"], status=422))
    notified = {"engine": "csm", "input": {"text": "Hello"}, "notify_url": asset["latest"]["url"]}
    assert (await ada.http.post("/v1/jobs", json=notified)).status_code == 422


async def test_a_zip_is_handed_out_as_one(people):
    ada = await people.add("submitter")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("car.blend", small_blend())
        archive.writestr("wood.png", b"x")
    asset = await put(ada, packed.getvalue())
    link = (await ada.http.get(f"/v1/assets/{asset['id']}/versions/1/download")).json()["url"]
    fetched = await people.nobody.get(link)
    assert (fetched.content, "car.zip" in fetched.headers["content-disposition"]) == (packed.getvalue(), True)

"""Uploads: whole or in parts, broken off and gone on with, listed and seen by whoever sent them."""

import os

import pytest
from people_world import people_of
from structlog.testing import capture_logs

from orchestrator.app import create_app
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.local_parts import LocalParts
from orchestrator.storage.sizes import PartSizes

PART_BYTES = 1000
CONTENT = os.urandom(2 * PART_BYTES + 9)


@pytest.fixture
async def people(world):
    found = people_of(world)
    storage = world.orchestrator.parts.storage
    assert isinstance(storage, LocalStorage)
    storage._parts = LocalParts(
        storage._root, PartSizes(part_bytes=PART_BYTES, parted_above_bytes=PART_BYTES)
    )
    yield found
    for client in [*found.clients, found.nobody]:
        await client.aclose()


async def begin(someone, **body):
    asked = {"name": "scene.blend", "size_bytes": len(CONTENT), **body}
    return await someone.http.post("/v1/uploads/parts", json=asked)


async def put(people, part):
    piece = CONTENT[part["offset"] :][: part["size_bytes"]]
    return await people.nobody.put(part["url"], content=piece, headers=part["headers"])


async def test_a_large_file_comes_in_parts_and_is_an_input(people):
    someone = await people.add("submitter")
    plan = (await begin(someone)).json()
    upload = plan["upload"]
    assert [part["size_bytes"] for part in plan["parts"]] == [PART_BYTES, PART_BYTES, 9]
    assert (upload["stored"], upload["size_bytes"]) == (False, len(CONTENT))
    named = {"engine": "blender", "input": {"file_url": upload["url"]}}
    early = await someone.http.post("/v1/jobs", json=named)
    assert (early.status_code, early.json()["errors"][0]["field"]) == (422, "input.file_url")
    assert "not complete" in early.json()["errors"][0]["message"]
    for part in plan["parts"]:
        assert (await put(people, part)).status_code == 204
    for _ in range(2):
        done = await someone.http.post(f"/v1/uploads/{upload['id']}/complete")
        assert (done.status_code, done.json()["stored"]) == (200, True)
    assert (await someone.http.post("/v1/jobs", json=named)).status_code == 202
    parts = people.world.orchestrator.parts
    row = await parts.store.get_upload(upload["id"])
    url = await parts.storage.presign_get(row.key, expires_s=60)
    assert (await people.nobody.get(url)).content == CONTENT


async def test_one_that_was_broken_off_goes_on_where_it_was(people):
    someone = await people.add("submitter")
    plan = (await begin(someone)).json()
    upload_id = plan["upload"]["id"]
    await put(people, plan["parts"][1])
    refused = await someone.http.post(f"/v1/uploads/{upload_id}/complete")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/incomplete")
    assert "1, 3" in refused.json()["detail"]
    again = (await someone.http.get(f"/v1/uploads/{upload_id}/parts")).json()
    assert [part["stored"] for part in again["parts"]] == [False, True, False]
    for part in again["parts"]:
        if not part["stored"]:
            await put(people, part)
    assert (await someone.http.post(f"/v1/uploads/{upload_id}/complete")).json()["stored"]
    assert (await someone.http.get(f"/v1/uploads/{upload_id}/parts")).json()["parts"] == []


async def test_a_small_file_is_one_part(people):
    someone = await people.add("submitter")
    plan = (await begin(someone, size_bytes=9)).json()
    [part] = plan["parts"]
    upload_id = plan["upload"]["id"]
    assert (await someone.http.post(f"/v1/uploads/{upload_id}/complete")).status_code == 409
    assert (await put(people, part)).status_code == 204
    assert (await someone.http.post(f"/v1/uploads/{upload_id}/complete")).json()["stored"]


async def test_what_was_given_up_is_gone(people):
    someone = await people.add("submitter")
    plan = (await begin(someone)).json()
    await people.world.orchestrator.parts.storage.abort_unfinished(begun_before=2**40)
    upload_id = plan["upload"]["id"]
    assert (await put(people, plan["parts"][0])).status_code == 404
    assert (await someone.http.get(f"/v1/uploads/{upload_id}/parts")).status_code == 410
    assert (await someone.http.post(f"/v1/uploads/{upload_id}/complete")).status_code == 410


@pytest.mark.parametrize(
    ("body", "status"),
    [({"size_bytes": 0}, 422), ({"name": ""}, 422), ({"more": 1}, 422), ({"size_bytes": 2**50}, 413)],
)
async def test_a_wrong_plan_is_refused(people, body, status):
    someone = await people.add("submitter")
    refused = await begin(someone, **body)
    assert refused.status_code == status
    assert (await someone.http.get("/v1/uploads")).json()["items"] == []


async def test_uploads_are_seen_by_their_owner(people):
    mine, other, operator = [await people.add(role) for role in ("submitter", "submitter", "operator")]
    ids = []
    for number in range(3):
        sent = await mine.http.post("/v1/uploads", params={"name": f"{number}.wav"}, content=b"sound")
        ids.append(sent.json()["id"])
    first = (await mine.http.get("/v1/uploads", params={"limit": 2})).json()
    rest = await mine.http.get("/v1/uploads", params={"limit": 2, "cursor": first["next_cursor"]})
    assert sorted(one["id"] for one in first["items"] + rest.json()["items"]) == sorted(ids)
    assert rest.json()["next_cursor"] is None
    assert (await other.http.get("/v1/uploads")).json()["items"] == []
    assert len((await operator.http.get("/v1/uploads")).json()["items"]) == 3
    for path, verb in ((ids[0], "GET"), (ids[0], "DELETE"), (f"{ids[0]}/parts", "GET")):
        assert (await other.http.request(verb, f"/v1/uploads/{path}")).status_code == 404
    theirs = {"engine": "whisper", "input": {"audio_url": f"upload://{ids[0]}"}}
    refused = await other.http.post("/v1/jobs", json=theirs)
    assert "no such upload" in refused.json()["errors"][0]["message"]
    assert (await mine.http.post("/v1/jobs", json=theirs)).status_code == 202


async def test_a_deleted_upload_is_gone_with_its_file(people):
    someone = await people.add("submitter")
    sent = (await someone.http.post("/v1/uploads", content=b"sound")).json()
    row = await people.world.orchestrator.parts.store.get_upload(sent["id"])
    assert (await someone.http.delete(f"/v1/uploads/{sent['id']}")).status_code == 204
    assert await people.world.orchestrator.parts.storage.stat(row.key) is None
    assert (await someone.http.get(f"/v1/uploads/{sent['id']}")).status_code == 404
    assert (await people.audit(what="upload.remove")).target == sent["id"]


async def test_an_upload_that_has_expired_is_no_input(people):
    someone = await people.add("submitter")
    sent = (await someone.http.post("/v1/uploads", content=b"sound")).json()
    settings = people.world.orchestrator.parts.settings
    people.world.clock.advance(settings.retention_s + 1)
    named = {"engine": "whisper", "input": {"audio_url": sent["url"]}}
    refused = await someone.http.post("/v1/jobs", json=named)
    assert "expired" in refused.json()["errors"][0]["message"]


async def test_a_strange_cursor_is_refused(people):
    someone = await people.add("submitter")
    for cursor in (
        "x",
        "WzFd",
        "W1tb" * 1_000,
        "W251bGwsICJhIl0=",
        "WzFlOTk5LCAiYSJd",
        "WzEsICJcdWQ4MDAiXQ==",
    ):
        for path in ("/v1/uploads", "/v1/jobs"):
            reply = await someone.http.get(path, params={"cursor": cursor})
            assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "cursor")


async def test_who_hangs_up_amid_a_file_is_no_fault_of_ours(world):
    said = [{"type": "http.request", "body": b"half of", "more_body": True}, {"type": "http.disconnect"}]
    told = []

    async def receive():
        return said.pop(0) if len(said) > 1 else said[0]

    async def send(message):
        told.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/uploads",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    with capture_logs() as logged:
        await create_app(world.orchestrator)(scope, receive, send)
    assert "request_failed" not in [one["event"] for one in logged]
    assert told[0]["status"] == 400
    assert (await world.http.get("/v1/uploads")).json()["items"] == []

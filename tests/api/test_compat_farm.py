"""The render farm over our verbs: tasks by number, a form with a file, a ZIP, and whose is what."""

import io
import zipfile
from dataclasses import replace

import pytest
from access_world import person
from farm_world import SCENE, client, settings_of, stored

from orchestrator.compat.farm.tasks import Render, render_of
from orchestrator.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture
async def farm(world):
    return await client(world)


# Who


async def test_who_comes_with_email_and_token_is_shown_themselves(world, farm):
    shown = (await farm.get()).json()
    assert shown == {
        "User": {
            "UserId": 1,
            "FirstName": "a",
            "LastName": "submitter",
            "Email": "user@example.com",
            "SubscriptionId": 1,
            "IsActive": True,
        },
        "Tasks": [],
    }


@pytest.mark.parametrize("wrong", [{"token": "gpl_wrong"}, {"email": "other@example.com"}])
async def test_a_wrong_email_or_token_is_401_in_each_routes_own_form(world, farm, wrong):
    farm.headers |= wrong
    replies = {
        "IsAdded": await farm.enqueue(),
        "IsRemoved": await farm.post("dequeue", 1),
        "DownloadProvided": await farm.post("download", 1),
        "IsDeleted": await farm.post("delete", 1),
    }
    for flag, reply in replies.items():
        assert reply.status_code == 401
        assert reply.json()[flag] is False
        assert reply.json()["ErrorMessage"]
    refused = await farm.get()
    assert (refused.status_code, refused.json()["User"]) == (401, None)
    assert stored(world) == []


async def test_a_viewer_sees_and_changes_nothing(world, farm):
    viewer = await client(world, "viewer@example.com", "viewer")
    assert (await viewer.get()).status_code == 200
    refused = await viewer.enqueue()
    assert (refused.status_code, refused.json()["IsAdded"]) == (403, False)
    assert stored(world) == []


async def test_anothers_task_does_not_exist(world, farm):
    other = await client(world, "other@example.com")
    number = await farm.done(("0001.png", b"\x89PNG"))
    for path, flag in (("dequeue", "IsRemoved"), ("download", "DownloadProvided"), ("delete", "IsDeleted")):
        missing = await other.post(path, 4711)
        refused = await other.post(path, number)
        assert (refused.status_code, refused.json()[flag]) == (404, False)
        assert refused.json()["ErrorMessage"] == missing.json()["ErrorMessage"].replace("4711", str(number))
    assert await other.tasks() == []
    assert (await farm.post("download", number)).status_code == 200


# What is shown


async def test_a_task_is_shown_with_every_field_of_the_farm(world, farm):
    assert (await farm.enqueue()).json() == {
        "IsAdded": True,
        "ErrorMessage": "Task successfully enqueued.",
    }
    (shown,) = await farm.tasks()
    assert shown == {
        "Task": {
            "TaskId": 1,
            "UserId": 1,
            "QueueTime": "2027-01-15T08:00:00",
            "StartTime": None,
            "EndTime": None,
            "IsRunning": False,
            "IsSuccess": False,
            "RenderId": 1,
            "MachineId": None,
        },
        "Render": {
            "RenderId": 1,
            "FileName": "scene.blend",
            "FilePath": "",
            "FileSize": len(SCENE),
            "Arguments": "blender -b scene.blend -s 1 -e 100 -a",
            "EngineId": 1,
        },
        "Engine": {
            "EngineId": 1,
            "Name": "blender",
            "Extension": ".blend",
            "DownloadPath": "",
            "RenderArgument": "blender -b $RENDERONLINE:@uploaded_file"
            " -s $RENDERONLINE:start_frame -e $RENDERONLINE:end_frame -a",
        },
    }


async def test_what_runs_is_our_engine_with_the_file_as_it_was_sent(world, farm):
    await farm.queued()
    (job,) = (await world.http.get("/v1/jobs", headers=farm.person.bearer)).json()["items"]
    assert (job["engine"], job["max_time"], job["complete_in"]) == ("blender", 7200, 86_400)
    upload = job["input"].pop("file_url")
    assert job["input"] == {"frames": "1-100", "output": "PNG"}
    row = await world.orchestrator.parts.store.get_upload(upload.removeprefix("upload://"))
    assert (row.owner, row.name, row.size_bytes) == (farm.person.user.id, "scene.blend", len(SCENE))
    assert world.orchestrator.parts.storage.path(row.key).read_bytes() == SCENE


async def test_states_are_told_by_two_flags_and_the_times(world, farm):
    number = await farm.done(("0001.png", b"\x89PNG"))
    world.clock.advance(60)
    await farm.queued()
    agent = await world.agent({"engine": "blender", "backend": "test", "models": ["4.2"]})
    assigned = await agent.claim()
    runs, done = [one["Task"] for one in await farm.tasks()]
    assert (runs["IsRunning"], runs["IsSuccess"], runs["EndTime"]) == (True, False, None)
    assert runs["StartTime"] == "2027-01-15T08:01:00"
    assert (done["TaskId"], done["IsRunning"], done["IsSuccess"]) == (number, False, True)
    assert done["EndTime"] == "2027-01-15T08:00:00"
    assert {runs["MachineId"], done["MachineId"]} == {1, 2}
    fault = {"kind": "job", "code": "blend_invalid", "message": "no camera"}
    await agent.finish(assigned, fault=fault)
    failed = (await farm.tasks())[0]["Task"]
    assert (failed["IsRunning"], failed["IsSuccess"]) == (False, False)
    assert failed["EndTime"] == "2027-01-15T08:01:00"
    refused = await farm.post("download", failed["TaskId"])
    assert (refused.status_code, refused.json()["DownloadProvided"]) == (409, False)
    assert "no camera" in refused.json()["ErrorMessage"]


async def test_the_last_15_tasks_are_shown_newest_first_and_no_jobs_of_other_surfaces(world, farm):
    for _ in range(17):
        assert (await farm.enqueue()).status_code == 200
        world.clock.advance(1)
        await world.http.post(
            "/v1/jobs", json={"engine": "csm", "input": {"text": "Hello."}}, headers=farm.person.bearer
        )
    assert [one["Task"]["TaskId"] for one in await farm.tasks()] == list(range(17, 2, -1))


async def test_an_operator_is_shown_their_own_and_may_end_anybodys(world, farm):
    number = await farm.queued()
    operator = await client(world, "ops@example.com", "operator")
    assert await operator.tasks() == []
    assert (await operator.post("dequeue", number)).json()["IsRemoved"] is True


async def test_metadata_that_a_client_made_up_breaks_nothing(world, farm):
    await farm.queued()
    job = await world.orchestrator.parts.store.get_job(
        (await world.http.get("/v1/jobs", headers=farm.person.bearer)).json()["items"][0]["id"]
    )
    for odd in ("text", ["list"], {"engine_id": "x"}, None, 7):
        assert render_of(replace(job, metadata={"farm": odd})) == Render()


# Dequeue, download, delete


async def test_a_task_that_waits_is_dequeued_once(world, farm):
    number = await farm.queued()
    reply = await farm.post("dequeue", number)
    assert reply.json() == {"IsRemoved": True, "ErrorMessage": "Task successfully dequeued."}
    (shown,) = await farm.tasks()
    assert shown["Task"]["EndTime"]
    assert shown["Task"]["IsSuccess"] is False
    again = await farm.post("dequeue", number)
    assert (again.status_code, again.json()["IsRemoved"]) == (409, False)


async def test_a_task_that_runs_is_stopped(world, farm):
    number = await farm.queued()
    agent = await world.agent({"engine": "blender", "backend": "test", "models": ["4.2"]})
    assigned = await agent.claim()
    assert (await farm.post("dequeue", number)).status_code == 200
    beat = await agent.post("heartbeat", attempts=[assigned["attempt"]])
    assert beat.json()["cancel"] == [assigned["attempt"]]


async def test_a_download_is_a_zip_of_all_files(world, farm):
    big = bytes(range(256)) * 5000
    number = await farm.done(("0001.png", b"\x89PNG"), ("film.mp4", big), ("../../0001.png", b"two"))
    reply = await farm.post("download", number)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
    assert reply.headers["content-disposition"] == f"attachment; filename={number}.zip"
    assert int(reply.headers["content-length"]) == len(reply.content)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0001.png", "film.mp4", "_.._0001.png"]
        assert [archive.read(name) for name in archive.namelist()] == [b"\x89PNG", big, b"two"]


async def test_a_result_that_is_a_zip_is_sent_as_it_is(world, farm):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("0001.png", b"\x89PNG")
    number = await farm.done(("frames.zip", made.getvalue()))
    reply = await farm.post("download", number)
    assert reply.content == made.getvalue()
    assert reply.headers["content-disposition"] == f"attachment; filename={number}.zip"


async def test_names_that_are_the_same_stay_two_files(world, farm):
    number = await farm.done(("a b.png", b"one"), ("a_b.png", b"two"))
    reply = await farm.post("download", number)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.namelist() == ["a_b.png", "2-a_b.png"]


async def test_nothing_is_provided_before_the_end_or_when_files_are_gone(world, farm):
    number = await farm.queued()
    reply = await farm.post("download", number)
    assert (reply.status_code, reply.json()["DownloadProvided"]) == (409, False)
    await farm.post("dequeue", number)
    number = await farm.done(("0001.png", b"\x89PNG"))
    storage = world.orchestrator.parts.storage
    await storage.delete([key for key in stored(world) if key.endswith(".png")])
    reply = await farm.post("download", number)
    assert (reply.status_code, reply.json()["DownloadProvided"]) == (410, False)


async def test_a_deleted_task_leaves_nothing(world, farm):
    number = await farm.done(("0001.png", b"\x89PNG"))
    assert len(stored(world)) == 2
    reply = await farm.post("delete", number)
    assert reply.json() == {
        "IsDeleted": True,
        "ErrorMessage": "Task and associated render successfully deleted.",
    }
    assert stored(world) == []
    assert await farm.tasks() == []
    assert (await world.http.get("/v1/jobs", headers=farm.person.bearer)).json()["items"] == []
    assert (await farm.post("delete", number)).status_code == 404
    assert await farm.queued() == number + 1


async def test_a_task_that_runs_is_deleted_with_its_file(world, farm):
    number = await farm.queued()
    agent = await world.agent({"engine": "blender", "backend": "test", "models": ["4.2"]})
    assigned = await agent.claim()
    assert (await farm.post("delete", number)).status_code == 200
    assert stored(world) == []
    beat = await agent.post("heartbeat", attempts=[assigned["attempt"]])
    assert beat.json()["cancel"] == [assigned["attempt"]]


async def test_a_number_that_is_none_is_400(farm):
    for path in ("dequeue", "download", "delete"):
        for odd in (None, "x", -1, 2**70, [], 1.5):
            assert (await farm.post(path, odd)).status_code == 400, (path, odd)


async def test_the_changes_are_in_the_audit(world, farm):
    number = await farm.queued()
    await farm.post("dequeue", number)
    await farm.post("delete", number)
    admin = await person(world, "admin")
    rows = (await world.http.get("/v1/audit", headers=admin.bearer)).json()["items"]
    theirs = [row["what"] for row in rows if row["who"] == f"user:{farm.person.user.id}"]
    assert {"upload.add", "upload.remove"} <= set(theirs)
    assert len(theirs) >= 5

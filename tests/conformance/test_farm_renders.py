"""A render farm's client from its scene to its pictures: real curl, real server, real Blender."""

import io
import json
import re
import zipfile

import pytest
from blender_program import needs_blender
from farm_client import INFO, Farm, frames, make_scene
from PIL import Image

pytestmark = [needs_blender, pytest.mark.timeout(240)]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def farm(server):
    return Farm(server, server.person(name="Test User"))


def ended(task):
    return task["EndTime"] is not None


def check_shape(said, documented, where="reply"):
    """The same fields, of the same types."""
    assert type(said) is type(documented), where
    if isinstance(documented, dict):
        assert said.keys() == documented.keys(), where
        for name, value in documented.items():
            check_shape(said[name], value, f"{where}.{name}")
    if isinstance(documented, list):
        for one in said:
            check_shape(one, documented[0], where)


def pictures(answer):
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def size_and_kind(content):
    with Image.open(io.BytesIO(content)) as picture:
        return picture.size, picture.format


def test_farm_documented_request_renders_100_frames_and_downloads_them_as_a_zip(farm, scene):
    answer = farm.enqueue(scene)
    assert answer.status == 200, answer.body
    assert answer.json() == {"IsAdded": True, "ErrorMessage": "Task successfully enqueued."}
    task = farm.until(farm.newest()["TaskId"], ended, 200)
    assert (task["IsRunning"], task["IsSuccess"]) == (False, True), farm.info()
    answer = farm.post("download", task["TaskId"])
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f"attachment; filename={task['TaskId']}.zip"
    found = pictures(answer)
    assert len(found) == 100
    assert {size_and_kind(content) for content in found.values()} == {((32, 24), "PNG")}


def test_farm_info_has_the_documented_shape(farm, scene):
    task_id = farm.queued(scene, frames(1, 1))
    farm.until(task_id, ended)
    said, documented = farm.info(), json.loads(INFO)
    check_shape(said, documented)
    assert {name: said["User"][name] for name in ("FirstName", "LastName", "Email", "IsActive")} == {
        "FirstName": "Test",
        "LastName": "User",
        "Email": farm.person.email,
        "IsActive": True,
    }
    newest = said["Tasks"][0]
    assert all(MOMENT.fullmatch(newest["Task"][name]) for name in ("QueueTime", "StartTime", "EndTime"))
    assert newest["Render"]["Arguments"] == "blender -b scene.blend -s 1 -e 1 -a"
    assert (newest["Render"]["FilePath"], newest["Render"]["FileSize"]) == ("", scene.stat().st_size)
    assert newest["Task"]["UserId"] == said["User"]["UserId"]


@pytest.mark.parametrize(("extension", "kind"), [(".png", "PNG"), (".jpg", "JPEG")])
def test_farm_one_frame_is_a_zip_of_one_picture(farm, scene, extension, kind):
    task_id = farm.queued(scene, frames(7, 7, output_format=extension))
    assert farm.until(task_id, ended)["IsSuccess"]
    ((name, content),) = pictures(farm.post("download", task_id)).items()
    assert "7" in name
    assert size_and_kind(content) == ((32, 24), kind)


def test_farm_output_format_may_be_a_film(farm, scene):
    task_id = farm.queued(scene, frames(1, 3, output_format=".mp4"))
    assert farm.until(task_id, ended)["IsSuccess"]
    ((name, content),) = pictures(farm.post("download", task_id)).items()
    assert (name, content[4:8]) == ("film.mp4", b"ftyp")


def test_farm_task_goes_through_queued_and_running(farm, scene):
    task_id = farm.queued(scene, frames(1, 2000))
    runs = farm.until(task_id, lambda task: task["IsRunning"])
    assert (runs["IsSuccess"], runs["EndTime"]) == (False, None)
    assert runs["StartTime"]
    assert 1 <= runs["MachineId"] <= 255
    answer = farm.post("dequeue", task_id)
    assert answer.json() == {"IsRemoved": True, "ErrorMessage": "Task successfully dequeued."}
    gone = farm.until(task_id, ended)
    assert (gone["IsRunning"], gone["IsSuccess"]) == (False, False)
    again = farm.post("dequeue", task_id)
    assert (again.status, again.json()["IsRemoved"]) == (409, False)


def test_farm_file_that_is_no_project_fails_and_provides_no_download(farm, tmp_path):
    fake = tmp_path / "fake.blend"
    fake.write_bytes(b"this is no project")
    task_id = farm.queued(fake, frames(1, 1))
    task = farm.until(task_id, ended)
    assert (task["IsRunning"], task["IsSuccess"]) == (False, False)
    answer = farm.post("download", task_id)
    assert (answer.status, answer.json()["DownloadProvided"]) == (409, False)


def test_farm_delete_leaves_nothing(server, scene):
    farm = Farm(server, server.person())
    task_id = farm.queued(scene, frames(1, 1))
    farm.until(task_id, ended)
    job = farm.job()
    theirs = (job["id"], job["input"]["file_url"].removeprefix("upload://"))
    assert [len(farm.stored(one)) for one in theirs] == [1, 1]
    answer = farm.post("delete", task_id)
    assert answer.json() == {
        "IsDeleted": True,
        "ErrorMessage": "Task and associated render successfully deleted.",
    }
    assert farm.info()["Tasks"] == []
    assert [farm.stored(one) for one in theirs] == [set(), set()]
    again = farm.post("delete", task_id)
    assert (again.status, again.json()["IsDeleted"]) == (404, False)


def test_farm_delete_ends_a_task_that_runs(server, scene):
    farm = Farm(server, server.person())
    task_id = farm.queued(scene, frames(1, 2000))
    farm.until(task_id, lambda task: task["IsRunning"])
    assert farm.post("delete", task_id).json()["IsDeleted"] is True
    assert farm.info()["Tasks"] == []


def test_farm_queue_limit_of_the_subscription_is_403_until_a_task_ends(server, scene):
    farm = Farm(server, server.person())
    made = server.admin.post("/v1/subscriptions", json={"name": "small", "quota": {"queued_max": 2}})
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    joined = server.admin.patch(f"/v1/users/{farm.person.user_id}", json={"subscription": number})
    assert joined.status_code == 200, joined.text
    first, second = (farm.queued(scene, frames(1, 2000)) for _ in range(2))
    assert farm.info()["User"]["SubscriptionId"] == number
    answer = farm.enqueue(scene)
    assert (answer.status, answer.json()["IsAdded"]) == (403, False)
    assert "Queue limit 2 reached for your subscription" in answer.json()["ErrorMessage"]
    assert farm.post("dequeue", first).status == 200
    third = farm.queued(scene, frames(1, 2000))
    for task_id in (second, third):
        assert farm.post("delete", task_id).json()["IsDeleted"] is True

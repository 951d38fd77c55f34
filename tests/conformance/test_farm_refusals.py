"""What a render farm refuses, and how: by curl, before any worker is asked."""

import contextlib
import json
import subprocess
import threading
import time

import psutil
import pytest
from farm_client import REQUEST, Farm, frames

SCENE_BYTES = 700
LARGE_BYTES = 384 * 1024**2


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """No project, but called like one: nothing here gets as far as Blender."""
    path = tmp_path_factory.mktemp("files") / "scene.blend"
    path.write_bytes(b"BLENDER-v304" + bytes(SCENE_BYTES))
    return path


@pytest.fixture
def farm(server):
    return Farm(server, server.person())


def check_refused(answer, status, flag="IsAdded", said=""):
    assert (answer.status, answer.json()[flag]) == (status, False), answer.body
    assert answer.headers["content-type"] == "application/json"
    assert said in answer.json()["ErrorMessage"]


@pytest.mark.parametrize(
    "wrong", [{"token": "my-secret-token"}, {"email": "user@example.com"}], ids=["token", "email"]
)
def test_farm_wrong_credentials_are_401(server, scene, wrong):
    farm = Farm(server, server.person(), **wrong)
    check_refused(farm.enqueue(scene), 401)
    check_refused(farm.post("dequeue", 1), 401, "IsRemoved")
    check_refused(farm.post("download", 1), 401, "DownloadProvided")
    check_refused(farm.post("delete", 1), 401, "IsDeleted")
    assert farm.call("info").status == 401


def test_farm_user_who_is_not_active_is_401(server, farm):
    assert server.admin.patch(f"/v1/users/{farm.person.user_id}", json={"active": False}).status_code == 200
    answer = farm.call("info")
    assert (answer.status, answer.json()["User"]) == (401, None)


def test_farm_tasks_of_others_do_not_exist(server, farm, scene):
    task_id, other = farm.queued(scene), Farm(server, server.person())
    for path, flag in (("dequeue", "IsRemoved"), ("download", "DownloadProvided"), ("delete", "IsDeleted")):
        check_refused(other.post(path, task_id), 404, flag, "not found for the current user")
    assert other.info()["Tasks"] == []
    assert farm.post("delete", task_id).json()["IsDeleted"] is True


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        (REQUEST.replace('"1",', '"77",', 1), "engine 77"),
        (frames(1, 100, colour="red"), "colour"),
        (frames(1, 100, output_format="png"), "extension"),
        (frames(1, 100, output_format=".gif"), ".png"),
        (frames(1, 100, start_frame="$(reboot)"), "natural"),
        (frames(1, 100, start_frame="-1"), "natural"),
        (frames(9, 1), "end_frame"),
    ],
    ids=["engine", "argument", "its form", "its meaning", "a shell", "a sign", "order"],
)
def test_farm_wrong_request_is_400(farm, scene, request_body, said):
    check_refused(farm.enqueue(scene, request_body), 400, said=said)
    assert farm.info()["Tasks"] == []


def test_farm_wrong_extension_is_400(farm, scene, tmp_path):
    check_refused(farm.enqueue(scene, name="scene.max"), 400, said=".blend")
    other = tmp_path / "scene.txt"
    other.write_text("text")
    check_refused(farm.enqueue(other), 400, said=".blend")


def test_farm_form_without_a_file_or_request_is_400(farm, scene):
    check_refused(farm.call("enqueue", f"-F 'request={json.dumps(json.loads(REQUEST))}'"), 400, said="file")
    check_refused(farm.call("enqueue", f"-F 'file=@{scene}'"), 400, said="request")
    check_refused(farm.call("enqueue", "-d '{}'"), 400, said="multipart/form-data")


def test_farm_number_that_is_no_tasks_is_refused(farm):
    check_refused(farm.post("download", 99_999_999), 404, "DownloadProvided", "99999999")
    check_refused(farm.post("download", "many"), 400, "DownloadProvided", "TaskId")


@pytest.mark.parametrize("name", ["../../../etc/cron.d/scene.blend", "/etc/scene.blend", "..\\\\scene.blend"])
def test_farm_path_in_a_file_name_leads_nowhere(farm, scene, name):
    before = farm.stored("scene.blend")
    assert farm.enqueue(scene, frames(1, 1), name=name).json()["IsAdded"] is True
    (new,) = farm.stored("scene.blend") - before
    assert new.startswith("uploads/")
    assert new.endswith("/scene.blend")
    shown = farm.info()["Tasks"][0]
    assert shown["Render"]["FileName"] == "scene.blend"
    assert farm.post("delete", shown["Task"]["TaskId"]).status == 200


def test_farm_file_beyond_the_cap_is_413(farm, tmp_path):
    large = tmp_path / "large.blend"
    with large.open("wb") as file:
        file.truncate(2 * 1024**3 + 1024**2)  # Sparse.
    check_refused(farm.enqueue(large), 413, said=str(2 * 1024**3))
    assert farm.stored("large.blend") == set()


def test_farm_large_file_goes_through_without_lying_in_memory(server, farm, tmp_path):
    large = tmp_path / "large.blend"
    with large.open("wb") as file:
        file.truncate(LARGE_BYTES)
    process = psutil.Process(server.up.process.pid)
    before, most, done = process.memory_info().rss, [0], threading.Event()

    def watch():
        while not done.is_set():
            most[0] = max(most[0], process.memory_info().rss)
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        answer = farm.enqueue(large, frames(1, 1))
    finally:
        done.set()
        watching.join()
    assert answer.status == 200, answer.body
    shown = farm.info()["Tasks"][0]
    assert shown["Render"]["FileSize"] == LARGE_BYTES
    assert farm.post("delete", shown["Task"]["TaskId"]).status == 200
    assert most[0] - before < 64 * 1024**2


def test_farm_wrong_request_before_a_large_file_is_still_answered(farm, tmp_path):
    large = tmp_path / "large.blend"
    with large.open("wb") as file:
        file.truncate(48 * 1024**2)
    check_refused(farm.enqueue(large, frames(9, 1)), 400, said="end_frame")


def test_farm_client_that_hangs_up_leaves_nothing(server, farm, tmp_path):
    large = tmp_path / "large.blend"
    with large.open("wb") as file:
        file.truncate(LARGE_BYTES)
    headers = [word for name, value in farm.headers.items() for word in ("-H", f"{name}: {value}")]
    form = ["-F", f"request={json.dumps(json.loads(REQUEST))}", "-F", f"file=@{large}"]
    options = ["-sS", "--noproxy", "*", "--limit-rate", "20M"]
    command = ["curl", *options, *headers, *form, f"{server.url}/renderapi/v1/enqueue"]
    sending = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.until(lambda: large_parts(server))
    sending.kill()
    sending.wait()
    server.until(lambda: not large_parts(server))
    assert farm.stored("large.blend") == set()
    assert farm.info()["Tasks"] == []


def large_parts(server):
    """Files on their way into the storage that are larger than any result of these suites."""
    found = []
    for path in (server.up.data / "storage" / "parts").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += [path] if path.stat().st_size > 16 * 1024**2 else []
    return found

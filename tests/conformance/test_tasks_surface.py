"""Render task orchestration: from registering to the picture, over a real socket and with the real Blender."""

import io
import secrets

import httpx
import pytest
from blender_program import needs_blender, run_script
from PIL import Image
from server import AUTH_CODE

# Two cameras before a cube that glows red, and another material that glows blue.
SCENE = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.cycles.use_denoising = False
scene.cycles.max_bounces = 0
bpy.ops.mesh.primitive_cube_add(size=2)
cube = bpy.context.object
for name, colour in (("Red", (1, 0, 0, 1)), ("Blue", (0, 0, 1, 1))):
    made = bpy.data.materials.new(name)
    made.use_nodes, made.use_fake_user = True, True
    glow = made.node_tree.nodes.new("ShaderNodeEmission")
    glow.inputs["Color"].default_value = colour
    made.node_tree.links.new(glow.outputs[0], made.node_tree.nodes["Material Output"].inputs[0])
cube.data.materials.append(bpy.data.materials["Red"])
for name, place, turn in (("Front", (0, -4, 0), (1.5708, 0, 0)), ("Side", (4, 0, 0), (1.5708, 0, 1.5708))):
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = place, turn
bpy.ops.wm.save_as_mainfile(filepath={path!r}, compress=True)
"""


class Client:
    """A program written for that system: a base URL, and a token from its login."""

    def __init__(self, server):
        self.email = f"{secrets.token_hex(4)}@example.com"
        self.http = httpx.Client(base_url=server.url, timeout=60, trust_env=False)

    def post(self, path, status=200, **body):
        reply = self.http.post(path, json=body)
        assert reply.status_code == status, reply.text
        assert reply.json()["success"] is (status == 200)
        return reply.json().get("data")

    def get(self, path, expected=200, **query):
        reply = self.http.get(path, params=query)
        assert reply.status_code == expected, reply.text
        assert reply.json()["success"] is (expected == 200)
        return reply.json().get("data")

    def join(self):
        password = "correct horse battery"
        form = {"email": self.email, "password": password, "nickname": self.email.split("@")[0]}
        self.post("/auth/register", **form, authcode=AUTH_CODE)
        session = self.post("/auth/login", email=self.email, password=password)
        self.use(session["access_token"])
        return session

    def use(self, token):
        self.http.headers["Authorization"] = f"Bearer {token}"

    def new_project(self, **body):
        return self.post("/api/project/create", name="A kitchen", **body)["projectId"]

    def upload(self, project, path, name="cube"):
        query = {"name": name, "project": project}
        reply = self.http.post("/v1/assets", params=query, content=path.read_bytes())
        assert reply.status_code == 201, reply.text
        return reply.json()

    def submit(self, project, *, status=200, model="cube", swap=("Red", "Blue"), **params):
        material = {"originalMaterialName": swap[0], "newMaterialName": swap[1], "properties": {}}
        payload = {"modelName": model, "renderParams": params, "materialList": [material]}
        return self.post("/api/render/tasks", status, projectId=project, payload=payload, clientId="c-7")


@pytest.fixture(scope="session")
def strangers(server):
    """Makes clients who have not joined."""
    made = []

    def another():
        made.append(Client(server))
        return made[-1]

    yield another
    for client in made:
        client.http.close()


@pytest.fixture
def client(strangers):
    client = strangers()
    client.join()
    return client


@pytest.fixture(scope="session")
def blend(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "cube.blend"
    run_script(SCENE.format(path=str(path)))
    return path


@pytest.fixture(scope="session")
def rendered(server, strangers, blend):
    """A client, their project, and a task of it that is completed."""
    client = strangers()
    client.join()
    hook = f"tasks-{secrets.token_hex(4)}"
    project = client.new_project(callbackUrl=server.hook_url(hook))
    client.upload(project, blend)
    task_id = client.submit(project, quality="1k", samples=2)["taskId"]

    def ended():
        task = client.get(f"/api/tasks/{task_id}/status")
        return task["status"] in {"completed", "failed"} and task

    task = server.until(ended, 240.0)
    assert task["status"] == "completed", task
    return client, project, task, hook


def test_register_login_refresh_and_who_am_i(strangers):
    client = strangers()
    session = client.join()
    info = client.get("/auth/user/info")
    assert (info["userId"], info["email"]) == (session["uid"], client.email)
    client.use(session["refresh_token"])
    client.use(client.get("/auth/refreshToken")["access_token"])
    assert client.get("/auth/user/info") == info


def test_registration_needs_the_code(strangers):
    client = strangers()
    form = {"email": client.email, "password": "correct horse battery", "nickname": "x"}
    client.post("/auth/register", 403, **form, authcode="guess")
    client.post("/auth/login", 401, email=client.email, password="correct horse battery")


def test_the_bearer_is_verified_and_not_only_looked_for(strangers, client):
    project = client.new_project()
    stranger = strangers()
    for token in (None, "anything", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."):
        if token:
            stranger.use(token)
        stranger.submit(project, status=401)


def test_projects_are_created_shown_and_listed(client):
    wanted = f"kitchen-{secrets.token_hex(4)}"
    assert client.new_project(projectId=wanted, model="cube", assignee="Ada") == wanted
    shown = client.get(f"/api/project/detail/{wanted}")
    assert (shown["model"], shown["assignee"], shown["Task"]) == ("cube", "Ada", [])
    assert [one["projectId"] for one in client.get("/api/project/list")["projects"]] == [wanted]


@needs_blender
def test_a_model_says_what_it_holds(client, blend):
    asset = client.upload(client.new_project(), blend)
    told = asset["latest"]["metadata"]
    assert told["cameras"] == ["Front", "Side"]
    assert {"Red", "Blue"} <= set(told["materials"])
    assert told["compression"] == "zstd"


@needs_blender
def test_a_task_is_queued_with_its_id_and_time(client, blend):
    project = client.new_project()
    client.upload(project, blend)
    made = client.submit(project)
    assert set(made) == {"taskId", "status", "createdAt"}
    assert made["status"] == "pending"
    client.post(f"/api/render/tasks/{made['taskId']}/cancel")
    task = client.get(f"/api/render/tasks/{made['taskId']}")
    assert (task["status"], task["error"]) == ("failed", "cancelled by its client")


@needs_blender
def test_a_task_with_an_unknown_model_or_material_is_refused(client, blend):
    project = client.new_project()
    client.upload(project, blend)
    client.submit(project, status=422, model="sphere")
    client.submit(project, status=422, swap=("Red", "Green"))
    client.submit("nobodys", status=422)
    assert client.get("/api/render/tasks_list")["total"] == 0


def test_what_is_no_blend_can_be_kept_and_not_rendered(client):
    project = client.new_project()
    query = {"name": "table", "project": project, "file": "table.obj"}
    kept = client.http.post("/v1/assets", params=query, content=b"v 0 0 0\nusemtl Red\n")
    assert (kept.status_code, kept.json()["kind"]) == (201, "obj")
    client.submit(project, status=422, model="table")


@needs_blender
def test_the_documented_status_example_answers(server, rendered):
    client, _, task, _ = rendered
    token = client.http.headers["Authorization"]
    text = f"curl {server.url}/api/tasks/{task['taskId']}/status -H 'Authorization: {token}'"
    answer = server.curl(text, None)
    assert answer.status == 200
    assert (answer.json()["data"]["status"], answer.json()["data"]["progress"]) == ("completed", 100)


@needs_blender
def test_every_camera_is_rendered_at_1k_with_the_new_material(server, rendered):
    client, _, task, _ = rendered
    assert len(task["result"]["pictures"]) == 2
    for camera in (0, 1):
        told = client.http.get(f"/api/resource/img/{task['taskId']}", params={"camera": camera}).json()
        assert told["success"] is True
        raw = httpx.get(told["url"], trust_env=False).content
        with Image.open(io.BytesIO(raw)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (1920, 1080))
            red, _, blue = picture.convert("RGB").getpixel((960, 540))
        assert (blue > 150, red < 100) == (True, True), (red, blue)


@needs_blender
def test_a_browser_is_sent_to_the_picture(rendered):
    client, _, task, _ = rendered
    path = f"/api/resource/img/{task['taskId']}"
    shown = client.http.get(path, headers={"Accept": "image/*"}, follow_redirects=True)
    assert (shown.status_code, shown.content[:3]) == (200, b"\xff\xd8\xff")


@needs_blender
def test_logs_come_by_page_by_offset_and_by_stage(rendered):
    client, _, task, _ = rendered
    whole = client.get(f"/api/render/tasks/{task['taskId']}/logs")
    assert whole["totalLines"] > 0
    page = client.get(f"/api/render/tasks/{task['taskId']}/logs", page=1, pageSize=1)
    assert page["content"] == whole["content"].splitlines()[0]
    chunk = client.get(f"/api/task/logger/{task['taskId']}", offset=0, chunkSize=64)
    assert 0 < chunk["nextOffset"] <= 64
    stages = [one[1][1] for one in client.get("/api/logs", taskId=task["taskId"])]
    assert (stages[0], stages[-1], "processing" in stages) == ("start", "completed", True)


@needs_blender
def test_the_list_shows_it_by_status(rendered):
    client, _, task, _ = rendered
    listed = client.get("/api/render/tasks_list", page=1, pageSize=10, status="completed", type="render")
    assert [one["id"] for one in listed["tasks"]] == [task["taskId"]]
    assert client.get("/api/tasks_list", status="pending")["total"] == 0


@needs_blender
def test_the_projects_callback_is_told_and_told_again_when_asked(server, rendered):
    client, _, task, hook = rendered
    first = server.until(lambda: server.hooked(hook), 30.0)[0]
    assert (first["body"]["id"], first["body"]["status"]) == (task["taskId"], "success")
    client.post("/api/render/client-callback", taskId=task["taskId"])
    server.until(lambda: len(server.hooked(hook)) > 1, 30.0)


@needs_blender
def test_an_ended_task_cannot_be_cancelled(rendered):
    client, _, task, _ = rendered
    client.post(f"/api/render/tasks/{task['taskId']}/cancel", 409)
    client.post("/api/render/terminate", 409, taskId=task["taskId"])


@needs_blender
def test_another_user_sees_and_changes_nothing_of_it(client, rendered):
    _, project, task, _ = rendered
    task_id = task["taskId"]
    for path in (
        "tasks/{}/status",
        "render/tasks/{}",
        "render/tasks/{}/logs",
        "task/logger/{}",
        "resource/img/{}",
    ):
        client.get("/api/" + path.format(task_id), 404)
    client.post(f"/api/render/tasks/{task_id}/cancel", 404)
    client.get(f"/api/project/detail/{project}", 404)
    client.submit(project, status=422)
    assert client.get("/api/render/tasks_list")["total"] == 0


@needs_blender
def test_a_running_render_is_stopped_by_terminate(server, client, blend):
    project = client.new_project()
    client.upload(project, blend)
    task_id = client.submit(project, quality="4k", samples=4096)["taskId"]
    server.until(lambda: client.get(f"/api/tasks/{task_id}/status")["status"] == "processing", 90.0)
    client.post("/api/render/terminate", taskId=task_id)
    task = client.get(f"/api/tasks/{task_id}/status")
    assert (task["status"], task["error"]) == ("failed", "terminated by its client")

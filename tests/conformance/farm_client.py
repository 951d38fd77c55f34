"""A client of the render farm that speaks through the real curl, with the documented bodies and headers."""

import json
import time
from pathlib import Path
from typing import Any

from blender_program import run_script
from server import Answer, Person, Server

REQUEST = """
{
  "EngineId": "1",
  "Arguments": [
    { "ArgTypeId": "start_frame", "Value": "1" },
    { "ArgTypeId": "end_frame", "Value": "100" },
    { "ArgTypeId": "output_format", "Value": ".png" }
  ]
}
"""
"""As documented."""
NUMBERED = '{ "TaskId": 123 }'
INFO = """
{
  "User": {
    "UserId": 1,
    "FirstName": "Test",
    "LastName": "User",
    "Email": "user@example.com",
    "SubscriptionId": 1,
    "IsActive": true
  },
  "Tasks": [
    {
      "Task": {
        "TaskId": 123,
        "UserId": 1,
        "QueueTime": "2024-08-27T20:00:00",
        "StartTime": "2024-08-27T20:01:00",
        "EndTime": "2024-08-27T20:05:00",
        "IsRunning": false,
        "IsSuccess": true,
        "RenderId": 5,
        "MachineId": 1
      },
      "Render": {
        "RenderId": 5,
        "FileName": "scene.blend",
        "FilePath": "",
        "FileSize": 12345678,
        "Arguments": "blender -b ...",
        "EngineId": 1
      },
      "Engine": {
        "EngineId": 1,
        "Name": "blender",
        "Extension": ".blend",
        "DownloadPath": "/srv/renderonline/downloads",
        "RenderArgument": "blender -b ..."
      }
    }
  ]
}
"""
SCENE = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
bpy.ops.mesh.primitive_cube_add()
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera)
camera.location, camera.rotation_euler, scene.camera = (0, -6, 0), (1.5708, 0, 0), camera
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 32, 24, 100
scene.render.filepath = "//frame_"
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1])
"""


def make_scene(folder: Path) -> Path:
    scene = folder / "scene.blend"
    run_script(SCENE, scene)
    return scene


def frames(first: int, last: int, **more: str) -> str:
    """The documented request for other frames."""
    said = json.loads(REQUEST)
    said["Arguments"][0]["Value"], said["Arguments"][1]["Value"] = str(first), str(last)
    for name, value in more.items():
        said["Arguments"] = [one for one in said["Arguments"] if one["ArgTypeId"] != name]
        said["Arguments"].append({"ArgTypeId": name, "Value": value})
    return json.dumps(said)


class Farm:
    """One person's `email` and `token` on every call."""

    def __init__(self, server: Server, person: Person, **headers: str) -> None:
        self.server, self.person = server, person
        self.headers = person.headers | headers

    def call(self, path: str, *words: str) -> Answer:
        """curl, with a line for each word, as documents write it."""
        shown = [f"-H '{name}: {value}'" for name, value in self.headers.items()]
        lines = [f"curl http://localhost:5000/renderapi/v1/{path}", *shown, *words]
        return self.server.curl(" \\\n  ".join(lines), self.person)

    def enqueue(self, file: Path, request: str = REQUEST, *, name: str | None = None) -> Answer:
        renamed = f';filename="{name}"' if name else ""
        compact = json.dumps(json.loads(request))
        return self.call("enqueue", f"-F 'request={compact}'", f"-F 'file=@{file}{renamed}'")

    def post(self, path: str, task_id: Any) -> Answer:
        body = NUMBERED.replace("123", json.dumps(task_id))
        return self.call(path, "-H 'Content-Type: application/json'", f"-d '{body}'")

    def info(self) -> dict[str, Any]:
        answer = self.call("info")
        assert answer.status == 200, answer.body
        return answer.json()

    def newest(self) -> dict[str, Any]:
        return self.info()["Tasks"][0]["Task"]

    def queued(self, file: Path, request: str = REQUEST) -> int:
        answer = self.enqueue(file, request)
        assert (answer.status, answer.json()["IsAdded"]) == (200, True), answer.body
        return self.newest()["TaskId"]

    def until(self, task_id: int, reached, patience_s: float = 100.0) -> dict[str, Any]:
        """The task, once it is so."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            tasks = [one["Task"] for one in self.info()["Tasks"]]
            task = next(one for one in tasks if one["TaskId"] == task_id)
            if reached(task):
                return task
            time.sleep(0.2)
        raise AssertionError(f"task {task_id} did not get there within {patience_s} s: {task}")

    def stored(self, name: str) -> set[str]:
        """Files in the server's storage that have this in their path; others' jobs may store something meanwhile."""
        root = self.server.up.data / "storage"
        paths = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        return {path for path in paths if name in path}

    def job(self) -> dict[str, Any]:
        """The only task's job, natively."""
        (job,) = self.person.http.get("/v1/jobs").json()["items"]
        return job

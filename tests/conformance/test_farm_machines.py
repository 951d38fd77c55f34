"""The reverse: a worker of ours driven as a machine of somebody's farm, with the documented bodies."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from blender_program import needs_blender
from farm_client import make_scene

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("worker", "emulators", "stand_ins")]

from generate_world import serving  # noqa: E402

pytestmark = [needs_blender, pytest.mark.timeout(180)]


@pytest.fixture
async def machine(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    engines = tmp_path / "HPCServer.json"
    blender = {"EngineId": "blender", "ExecutablePath": "/usr/bin/blender"}
    engines.write_text(
        json.dumps({"Port": "5001", "RenderingEngines": [blender], "AllowedFolders": [str(shared)]})
    )
    async with serving(tmp_path / "w", GPULEASE_HPC_ENGINES=str(engines)) as running:
        running.shared, running.url = shared, str(running.client.base_url).rstrip("/")
        yield running


def curl(machine, path, body=None):
    """The status and the body, by the real curl."""
    sent = ["-d", json.dumps(body), "-H", "Content-Type: application/json"] if body else []
    command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *sent, f"{machine.url}/hpc/{path}"]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=30)
    said, _, status = ran.stdout.decode().rpartition("\n")
    return int(status), json.loads(said)


def started(machine, task_id, last):
    scene = make_scene(machine.shared)
    line = f"blender -b {scene} -s 1 -e {last} -a"
    return curl(machine, "start", {"EngineId": "blender", "TaskId": task_id, "Arguments": line})


def until_it_rests(machine, patience_s=90.0):
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        _, said = curl(machine, "status")
        if not said["Task"]["IsRunning"]:
            return said["Task"]
        time.sleep(0.2)
    raise AssertionError("it still renders")


async def test_farm_drives_a_worker_of_ours_from_start_to_end(machine):
    assert curl(machine, "status") == (200, {"EngineIds": ["blender"], "Task": None})
    assert started(machine, 123, 2) == (
        200,
        {"IsSuccess": True, "Message": "Rendering using engine with identifier: blender"},
    )
    _, said = curl(machine, "status")
    assert said["EngineIds"] == ["blender"]
    assert said["Task"].keys() == {"TaskId", "IsSuccess", "IsRunning", "TotalSeconds"}
    ended = until_it_rests(machine)
    assert (ended["TaskId"], ended["IsSuccess"]) == (123, True)
    made = sorted(path.name for path in machine.shared.glob("frame_*"))
    assert made == ["frame_0001.png", "frame_0002.png"]


async def test_farm_stops_a_render_on_a_worker_of_ours(machine):
    assert started(machine, 123, 5000)[0] == 200
    busy = curl(machine, "start", {"EngineId": "blender", "TaskId": 124, "Arguments": "blender -b"})
    assert (busy[0], busy[1]["IsSuccess"]) == (400, False)
    assert curl(machine, "stop", {"TaskId": 123}) == (
        200,
        {"IsSuccess": True, "Message": "Active render terminated!"},
    )
    assert until_it_rests(machine)["IsSuccess"] is False


async def test_farm_finds_the_worker_closed_to_engines_that_it_has_not(machine):
    status, said = curl(machine, "start", {"EngineId": "maya", "TaskId": 1, "Arguments": "maya"})
    assert (status, said["IsSuccess"]) == (400, False)
    with pytest.raises(httpx.HTTPStatusError):
        (await machine.client.get("/hpc/nothing")).raise_for_status()
